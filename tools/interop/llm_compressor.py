"""Makes llm-compressor's own checkpoints, in a process of its own (it patches PyTorch and transformers).

  llm_compressor.py JOBS.json     a list of {"source", "output", "way": "oneshot" or "model_free_ptq", "scheme"}

Prints one JSON line a job: {"output", "error"}; error is null where it was made. No data set is needed but for FP8 with
static activations, which is calibrated with token ids."""

import json
import logging
import os
import pathlib
import sys
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
warnings.simplefilter("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme  # noqa: E402
from llmcompressor import model_free_ptq, oneshot  # noqa: E402
from llmcompressor.modifiers.quantization import QuantizationModifier  # noqa: E402
from loguru import logger  # noqa: E402

logger.remove()
logging.disable(logging.WARNING)
transformers.logging.disable_progress_bar()


def scheme_of(name: str) -> QuantizationScheme | str:
    """A preset, or what has none: FP8 weights without FP8 activations."""
    if name != "W8A16":
        return name
    weights = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="channel", dynamic=False)
    return QuantizationScheme(targets=["Linear"], weights=weights)


def by_oneshot(source: str, output: str, name: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    scheme = scheme_of(name)
    chosen = {"targets": ["Linear"], "scheme": scheme} if isinstance(scheme, str) else {
        "config_groups": {"group_0": scheme}}
    calibration = {}
    if name == "FP8":
        from datasets import Dataset
        from tokenizers import Tokenizer, models
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), pad_token="a")
        rows = [{"input_ids": [(7 * i + j) % 320 for i in range(16)], "attention_mask": [1] * 16} for j in range(8)]
        calibration = dict(processor=tokenizer, dataset=Dataset.from_list(rows), num_calibration_samples=8,
                           max_seq_length=16)
    oneshot(model=model, recipe=QuantizationModifier(ignore=["lm_head"], **chosen), output_dir=output, **calibration)


def by_files(source: str, output: str, name: str) -> None:
    # It knows no modules: what a Linear is must be said by name.
    chosen = dict(ignore=["lm_head", "model.embed_tokens"], device="cpu", max_workers=1)
    scheme = scheme_of(name)
    if isinstance(scheme, str):
        model_free_ptq(source, output, scheme=scheme, **chosen)
    else:
        ignore = chosen.pop("ignore")
        model_free_ptq(source, output, config=QuantizationConfig(config_groups={"group_0": scheme}, ignore=ignore),
                       **chosen)


def main() -> None:
    for job in json.loads(pathlib.Path(sys.argv[1]).read_text()):
        torch.manual_seed(0)
        error = None
        try:
            way = by_oneshot if job["way"] == "oneshot" else by_files
            way(job["source"], job["output"], job["scheme"])
        except Exception as e:  # noqa: BLE001  what it cannot do is a result
            error = f"{type(e).__name__}: {str(e)[:300]}"
        print(json.dumps({"output": job["output"], "error": error}), flush=True)


if __name__ == "__main__":
    main()
