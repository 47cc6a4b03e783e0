#!/usr/bin/env python3
"""`lm_eval --model local-completions`, unmodified, against `octavo serve`, with the tasks of examples/lm_eval.

lm_eval_check.py OCTAVO WORK

The word problems must give models/abacus' score; of the four solutions of each problem, every loglikelihood must be the
one that `octavo score` says of the same text, whether lm_eval sends ids or text, one request or many at once.
"""
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

from server import KEY, ROOT, start

TASKS = ROOT / "examples/lm_eval"
CLOSE = 1e-5  # of sums of some dozen logprobs, each printed with seven digits or more


def lm_eval(url, model, out, tasks, **arguments):
    """Scores and samples by task."""
    arguments = {"model": "served", "base_url": url + "/v1/completions", "tokenizer_backend": "huggingface",
                 "tokenizer": str(model), "max_retries": 1, **arguments}
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
                   "TOKENIZERS_PARALLELISM": "false", "HF_HOME": str(out / "hf")}
    command = [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args",
               ",".join(f"{key}={value}" for key, value in arguments.items()), "--include_path", str(TASKS), "--tasks",
               ",".join(tasks), "--output_path", str(out), "--log_samples"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"lm_eval failed:\n{run.stderr[-3000:]}")
    newest = lambda pattern: max(out.rglob(pattern), key=lambda p: p.stat().st_mtime)
    scores = json.loads(newest("results_*.json").read_text())["results"]
    samples = {task: [json.loads(line) for line in newest(f"samples_{task}_*.jsonl").read_text().splitlines()]
               for task in tasks}
    return scores, samples


def octavo_loglikelihoods(octavo, model, samples):
    """Of every choice after its context, by `octavo score`."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(model)
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False)
    lines, starts = [], []
    for sample in samples:
        for context, choice in (pair.values() for pair in sample["arguments"].values()):
            lines.append({"token_ids": encode(context + choice)})
            starts.append(len(encode(context.rstrip())))  # lm_eval counts a context's last spaces to the choice
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run = subprocess.run([octavo, "score", str(model), "--quiet"], input=text, stdout=subprocess.PIPE, text=True,
                         check=True)
    scored = [json.loads(line) for line in run.stdout.splitlines()]
    return [sum(s["logprobs"][start:]) for s, start in zip(scored, starts, strict=True)]


def check(octavo, model, work, as_text):
    server, url = start(octavo, model, "served")
    context = json.loads((model / "config.json").read_text())["max_position_embeddings"]
    try:
        scores, samples = lm_eval(url, model, work / "ids", ["word_problems", "which_solution"], num_concurrent=8,
                                  max_length=context)
        solved = scores["word_problems"]["exact_match,strict-match"]
        chosen = scores["which_solution"]["acc,none"]
        theirs = [float(r[0][0]) for s in samples["which_solution"] for r in s["resps"]]
        ours = octavo_loglikelihoods(octavo, model, samples["which_solution"])
        worst = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
        assert worst <= CLOSE, f"loglikelihoods differ by {worst}"
        picked = [max(range(4), key=lambda k: ours[4 * i + k]) for i in range(len(samples["which_solution"]))]
        right = sum(p == s["doc"]["label"] for p, s in zip(picked, samples["which_solution"])) / len(picked)
        assert right == chosen, f"octavo score chooses {right}, lm_eval {chosen}"
        if as_text:
            scores, samples = lm_eval(url, model, work / "text", ["which_solution", "word_problems"],
                                      tokenized_requests=False, max_length=context)
            assert [float(r[0][0]) for s in samples["which_solution"] for r in s["resps"]] == theirs
            assert scores["word_problems"]["exact_match,strict-match"] == solved
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()
    print(f"lm_eval {importlib.metadata.version('lm_eval')} on {model.name}: word problems {solved:.1%}, which "
          f"solution {chosen:.1%}; {len(theirs)} loglikelihoods within {worst:.0e} of octavo score: ok", flush=True)
    return solved, chosen


def main():
    octavo, work = sys.argv[1], pathlib.Path(sys.argv[2])
    solved, chosen = check(octavo, ROOT / "models/abacus", work / "abacus", as_text=True)
    assert solved > 0.5 and chosen > 0.8, "these are not the scores of models/abacus"
    # As ids only: for a text its tokenizer adds a BOS, of which lm_eval does not know.
    other = ROOT.parent / "shared/data/models/babyllama105-1M-bf16"
    if other.exists():
        check(octavo, other, work / "babyllama", as_text=False)


if __name__ == "__main__":
    main()
