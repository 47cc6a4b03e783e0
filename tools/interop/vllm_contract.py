"""What vLLM's Python makes of a folder, short of running a kernel: its engine takes the config, its model builds the
parameters it would have on a GPU, and its loaders fill them from the file. Run in vLLM's own environment.

  vllm_contract.py FOLDER...

Prints one JSON line a folder: {"folder", "method", "loaded", "error"}. Only the choice of a kernel is taken out: its
tables get one that promises everything and does nothing, as the CPU build has few."""

import json
import os
import pathlib
import sys

os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", VLLM_CPU_KVCACHE_SPACE="1",
                  TRANSFORMERS_VERBOSITY="error")

import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402


class AnyKernel:
    """Stands for a GPU's kernel."""

    def __init__(self, config=None, *args, **kwargs) -> None:
        self.config = config

    @classmethod
    def is_supported(cls, compute_capability=None):
        return True, None

    @classmethod
    def can_implement(cls, config):
        return True, None

    def input_quant_key(self):
        return None


FUSED = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj", "gate_proj": "gate_up_proj",
         "up_proj": "gate_up_proj"}


def tensors_of(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    out = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            out.update({name: file.get_tensor(name) for name in file.keys()})
    return out


def misplaced(tensors: dict[str, torch.Tensor], parameters: dict[str, torch.Tensor]) -> str:
    """"" when every code and scale of the file stands in vLLM's parameters, in its fused layer."""
    parts = {}
    for name in tensors:
        module, _, leaf = name.rpartition(".")
        parent, _, last = module.rpartition(".")
        if last in FUSED:
            parts.setdefault(f"{parent}.{FUSED[last]}.{leaf}", []).append(name)
        elif leaf.startswith(("weight", "input_scale")):
            parts.setdefault(name, []).append(name)
    order = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"]
    for fused, names in parts.items():
        names.sort(key=lambda n: order.index(n.split(".")[-2]) if n.split(".")[-2] in order else 0)
        held = parameters.get(fused)
        if held is None:
            return f"{fused} is no parameter"
        stored = [tensors[n].reshape(1) if tensors[n].dim() == 0 else tensors[n] for n in names]
        whole = torch.cat(stored).reshape(-1)
        held = held.detach().reshape(-1)
        if held.dtype.itemsize == 1:
            whole, held = whole.view(torch.uint8), held.view(torch.uint8)
        held = held[: len(whole)]  # embeddings are padded
        if held.shape != whole.shape or not torch.equal(held.to(torch.float32), whole.to(torch.float32)):
            return f"{fused} does not hold what the file has"
    return ""


def judge(folder: pathlib.Path) -> dict:
    from vllm.config import set_current_vllm_config
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype

    config = EngineArgs(model=str(folder), skip_tokenizer_init=True, enforce_eager=True, max_model_len=64,
                        dtype="bfloat16").create_engine_config()
    method = type(config.quant_config).__name__
    with set_current_vllm_config(config), set_default_torch_dtype(torch.bfloat16):
        model = initialize_model(config)
        tensors = tensors_of(folder)
        loaded = model.load_weights(iter(tensors.items()))
        parameters = dict(model.named_parameters())
        # Scales of a cache that the file does not quantize are 1.
        missing = sorted(n for n in parameters.keys() - loaded if ".attn." not in n)
        if missing:
            raise ValueError(f"{len(missing)} parameters are not in the file: {missing[:3]}")
        error = misplaced(tensors, parameters)
        if error:
            raise ValueError(error)
    kinds = sorted({type(m.quant_method).__name__ for m in model.modules() if getattr(m, "quant_method", None)})
    return {"method": f"{method}: {', '.join(kinds)}", "loaded": len(loaded)}


def main() -> None:
    import tempfile

    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    from vllm.model_executor.kernels import linear
    from vllm.platforms import current_platform

    for table in [n for n in dir(linear) if n.startswith("_POSSIBLE_")]:
        getattr(linear, table)[current_platform._enum] = [AnyKernel]
    with set_current_vllm_config(VllmConfig()):
        init_distributed_environment(1, 0, "file://" + tempfile.mktemp(), 0, "gloo")
        initialize_model_parallel(1)
    for folder in sys.argv[1:]:
        result = {"folder": folder, "error": None}
        try:
            result |= judge(pathlib.Path(folder))
        except Exception as e:  # noqa: BLE001  what it refuses is a result
            if os.environ.get("OCTAVO_TRACE"):
                import traceback
                traceback.print_exc()
            result["error"] = f"{type(e).__name__}: {str(e)[:400]}"
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
