# vLLM's CPU build with random weights, in its own interpreter: what bench/peers.py measures of it.
"""usage: peers_vllm.py JOB   {"folder", "quantization", "threads", "prompt", "generate", "batch"} as JSON

Prints one JSON line: {"version", "tests": {"prefill", "decode", "batch"}}, tokens/s. Decode is the time of a long
answer less that of one with a single token, for the same prompt of eight tokens. Runs without its compiler
(enforce_eager) unless PEERS_VLLM_COMPILE=1."""
import json
import os
import sys
import time


def main():
    job = json.loads(sys.argv[1])
    threads = job["threads"]
    os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_ENABLE_V1_MULTIPROCESSING="0",
                      VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1", OMP_NUM_THREADS=str(threads),
                      VLLM_CPU_OMP_THREADS_BIND=f"0-{threads - 1}" if threads > 1 else "0")
    import vllm
    quantization = None if job["quantization"] == "none" else job["quantization"]
    context = job["prompt"] + job["generate"] + 16
    model = vllm.LLM(job["folder"], load_format="dummy", skip_tokenizer_init=True, quantization=quantization,
                     enforce_eager=os.environ.get("PEERS_VLLM_COMPILE") != "1", dtype="bfloat16",
                     max_model_len=context, max_num_seqs=job["batch"], max_num_batched_tokens=max(1024, context),
                     enable_prefix_caching=False, disable_log_stats=True)
    vocabulary = model.llm_engine.model_config.get_vocab_size()

    def seconds(sequences, prompt, generate):
        prompts = [{"prompt_token_ids": [(i * 7919 + s * 104729 + 1) % vocabulary for i in range(prompt)]}
                   for s in range(sequences)]
        how = vllm.SamplingParams(temperature=0.0, max_tokens=generate, detokenize=False, ignore_eos=True)
        start = time.perf_counter()
        model.generate(prompts, how, use_tqdm=False)
        return time.perf_counter() - start

    def decode(sequences, steps):
        return sequences * steps / (seconds(sequences, 8, steps + 1) - seconds(sequences, 8, 1))

    seconds(1, job["prompt"], 2)  # warm
    seconds(job["batch"], 8, 2)
    tests = {"prefill": job["prompt"] / seconds(1, job["prompt"], 1), "decode": decode(1, job["generate"]),
             "batch": decode(job["batch"], max(8, job["generate"] // job["batch"]))}
    print(json.dumps({"version": vllm.__version__, "tests": tests}), flush=True)


if __name__ == "__main__":
    main()
