"""Generates with vLLM's CPU build, in its own environment; each folder in a process of its own, as an engine that fails
takes the process with it.

  vllm_run.py JOB.json     {"folder", "prompts": [[token ids]], "tokens": N}

Prints one JSON line: {"tokens": [[ids]], "logprobs": [[[[id, logprob], ...] per token]]} or {"error": "..."}."""

import json
import os
import pathlib
import sys

os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_ENABLE_V1_MULTIPROCESSING="0",
                  VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1", TRANSFORMERS_VERBOSITY="error")


def main() -> None:
    job = json.loads(pathlib.Path(sys.argv[1]).read_text())
    try:
        from vllm import LLM, SamplingParams
        llm = LLM(job["folder"], skip_tokenizer_init=True, enforce_eager=True, max_model_len=256, max_num_seqs=4,
                  dtype="bfloat16", seed=0, disable_log_stats=True)
        how = SamplingParams(temperature=0.0, max_tokens=job["tokens"], logprobs=4, detokenize=False, ignore_eos=True)
        outputs = llm.generate([{"prompt_token_ids": p} for p in job["prompts"]], how, use_tqdm=False)
        tokens = [list(o.outputs[0].token_ids) for o in outputs]
        logprobs = [[[[i, p.logprob] for i, p in step.items()] for step in o.outputs[0].logprobs] for o in outputs]
        print(json.dumps({"tokens": tokens, "logprobs": logprobs}), flush=True)
    except Exception as e:  # noqa: BLE001  what it cannot do is a result
        print(json.dumps({"error": f"{type(e).__name__}: {str(e)[:400]}"}), flush=True)


if __name__ == "__main__":
    main()
