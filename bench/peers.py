#!/usr/bin/env python3
# Octavo beside other engines on the same machine, in turn: prompt, decode and decode of a batch, and their ratios.
"""usage: bench/peers.py --shape qwen3-0.6b [--threads 1,2] [--rounds 3] [--json FILE] ENGINES...

Engines, each option as often as wanted; in every round each of them runs once, in the next round in reverse order:
  --octavo 'WEIGHTS=[KEY=VALUE ...] OCTAVO [FLAGS]'  octavo bench --synthetic SHAPE FLAGS, in that environment
                                             (--model FOLDER: that model instead)
  --llama 'NAME=FOLDER [| FLAGS [| FLAGS]]'  llama-bench FLAGS and llama-batched-bench FLAGS of the programs in FOLDER
  --gguf 'WEIGHTS=FILE'                      the files that each --llama runs, of the same shape
  --vllm 'NAME=[KEY=VALUE ...] PYTHON'       bench/peers_vllm.py with that interpreter and environment
  --vllm-config CONFIG.json                  a model of the same shape (its weights are random), for each --vllm
  --vllm-quantization none,fp8_per_block     and what it makes of the weights
WEIGHTS that begin with bf16, f16 or none are compared with the first Octavo of that kind, all others with the first of
the other kind. --lock FILE holds this lock (flock) while measuring and lets others in at least every three minutes."""
import argparse
import fcntl
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = ("prefill", "decode", "batch")  # tokens/s of each; a test that an engine cannot run is missing
HOLD_SECONDS = 140
TIMEOUT_SECONDS = 600


# --- What the programs print --------------------------------------------------------------------------------------

def parse_octavo(text):
    """({test: tokens/s}, limits) of `octavo bench --json` with one number of threads."""
    done = json.loads(text)
    out = {name: done[name]["tokens_per_s"] for name in ("prefill", "decode") if name in done}
    for test in done["tests"]:
        if test["batch"] > 1:
            out["batch"] = test["tokens_per_s"]
    return out, {key: value for key, value in done["limits"].items() if key.endswith("per_s")}


def parse_llama_bench(text):
    """({test: tokens/s}, commit) of `llama-bench -o json`."""
    out, commit = {}, ""
    for test in json.loads(text):
        out["prefill" if test["n_prompt"] else "decode"] = test["avg_ts"]
        commit = test["build_commit"]
    return out, commit


def parse_batched_bench(text):
    """Tokens/s of the last row of the table of llama-batched-bench, by the name of its column."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in text.splitlines() if line.lstrip().startswith("|")]
    header = next((row for row in rows if "S_TG t/s" in row), None)
    if header is None:
        raise ValueError("llama-batched-bench printed no table")
    figures = [row for row in rows if len(row) == len(header) and re.fullmatch(r"\d+", row[0])]
    return float(figures[-1][header.index("S_TG t/s")])


# --- Engines: each gives {test: tokens/s} and what it says of itself ----------------------------------------------

def output_of(command, environment=None, errors_too=False):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if errors_too else subprocess.PIPE,
                          text=True, timeout=TIMEOUT_SECONDS, check=False, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        said = ((done.stderr or "").strip() or done.stdout.strip()).splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"{shlex.join(map(str, command))}: exit code {done.returncode}: {said[0][:300]}")
    return done.stdout


def command_of(text):
    """Of "KEY=VALUE ... PROGRAM FLAGS": the environment, the program, the flags."""
    words = shlex.split(text)
    program = next(i for i, word in enumerate(words) if "=" not in word)
    return dict(word.split("=", 1) for word in words[:program]), words[program], words[program + 1:]


class Octavo:
    def __init__(self, text, options):
        self.name, (self.weights, command) = "Octavo", text.split("=", 1)
        self.environment, self.program, self.flags = command_of(command)
        self.options = options

    def run(self, threads):
        o = self.options
        model = [o.model] if o.model else ["--synthetic", o.shape]
        text = output_of([self.program, "bench", *model, *self.flags, "--threads", str(threads), "--pp", str(o.pp),
                          "--tg", str(o.tg), "--batch", f"1,{o.batch}", "--repetitions", "1", "--json"],
                         self.environment)
        tests, limits = parse_octavo(text)
        return tests, {"limits": limits}


class Llama:
    def __init__(self, text, gguf, options):
        self.name, rest = text.split("=", 1)
        folder, bench, batched, *_ = [part.strip() for part in rest.split("|")] + ["", ""]
        self.folder, self.flags, self.batched_flags = Path(folder), shlex.split(bench), shlex.split(batched)
        self.weights, self.file = gguf.split("=", 1)
        self.options = options

    def run(self, threads):
        o = self.options
        tests, commit = parse_llama_bench(output_of(
            [self.folder / "llama-bench", "-m", self.file, "-t", str(threads), "-p", str(o.pp), "-n", str(o.tg),
             "-r", "1", "-o", "json", *self.flags]))
        steps = max(8, o.tg // o.batch)  # as octavo bench
        program = self.folder / "llama-batched-bench"
        if program.exists():
            tests["batch"] = parse_batched_bench(output_of(  # ik_llama.cpp prints its table to standard error
                [program, "-m", self.file, "-t", str(threads), "-c", str(max(512, o.batch * (steps + 8))),
                 "-npp", "1", "-ntg", str(steps), "-npl", str(o.batch), *self.batched_flags], errors_too=True))
        return tests, {"version": commit}


class Vllm:
    def __init__(self, text, quantization, options):
        self.name, rest = text.split("=", 1)
        self.environment, self.python, _ = command_of(rest)
        self.quantization, self.options = quantization, options
        self.weights = "bf16" if quantization == "none" else quantization

    def run(self, threads):
        o = self.options
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_bytes(o.vllm_config.read_bytes())
            job = {"folder": folder, "quantization": self.quantization, "threads": threads, "prompt": o.pp,
                   "generate": o.tg, "batch": o.batch}
            text = output_of([self.python, Path(__file__).with_name("peers_vllm.py"), json.dumps(job)],
                             self.environment)
        done = json.loads(text.splitlines()[-1])
        return done["tests"], {"version": done["version"]}


def engines_of(o):
    out = [Octavo(text, o) for text in o.octavo]
    out += [Llama(text, gguf, o) for text in o.llama for gguf in o.gguf]
    out += [Vllm(text, quantization, o) for text in o.vllm for quantization in o.vllm_quantization.split(",")]
    return out


# --- Rounds -------------------------------------------------------------------------------------------------------

class Turn:
    """Holds the lock while measuring; between two measurements others may have it."""

    def __init__(self, path):
        self.file, self.since = (open(path, "w") if path else None), None

    def take(self):
        if self.file and self.since is None:
            fcntl.flock(self.file, fcntl.LOCK_EX)
            self.since = time.monotonic()

    def pause(self, always=False):
        if self.file and self.since is not None and (always or time.monotonic() - self.since > HOLD_SECONDS):
            fcntl.flock(self.file, fcntl.LOCK_UN)
            self.since = None
            time.sleep(1)


def measure(engines, threads, rounds, lock):
    """A row for each engine: {"engine", "weights", "threads", "samples": {test: [per round]}, "said", "errors"}."""
    rows = [{"engine": e.name, "weights": e.weights, "threads": threads, "samples": {test: [] for test in TESTS},
             "said": [], "errors": []} for e in engines]
    turn = Turn(lock)
    for round_ in range(rounds):
        order = list(zip(engines, rows))
        for engine, row in order if round_ % 2 == 0 else reversed(order):
            turn.take()
            try:
                tests, said = engine.run(threads)
                row["said"].append(said)
            except (RuntimeError, subprocess.TimeoutExpired, OSError, ValueError, LookupError) as error:
                tests = {}
                row["errors"].append(str(error))
                print(f"peers: {error}", file=sys.stderr)
            for test in TESTS:
                row["samples"][test].append(tests.get(test))
            print(f"peers: {threads} threads, round {round_ + 1}: {engine.name} {engine.weights}: "
                  f"{ {test: round(value, 1) for test, value in tests.items()} }", file=sys.stderr)
            turn.pause()
        turn.pause(always=True)
    return rows


# --- The table ----------------------------------------------------------------------------------------------------

def sixteen_bits(weights):
    return re.match(r"bf16|f16|none", weights) is not None


def spread(values, digits):
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratios(octavo, peer):
    """Octavo to the peer, round by round."""
    return [a / b for a, b in zip(octavo, peer) if a is not None and b]


def table(shape, rows, options):
    heads = {"prefill": f"pp{options.pp}", "decode": f"tg{options.tg}", "batch": f"batch {options.batch}"}
    lines = [f"| {shape}, tokens/s: median (min-max) | weights | threads | " +
             " | ".join(f"{heads[test]} | Octavo / it" for test in TESTS) + " |", "|---" * (3 + 2 * len(TESTS)) + "|"]
    for row in rows:
        own = next((r for r in rows if r["engine"] == "Octavo" and r["threads"] == row["threads"] and
                    sixteen_bits(r["weights"]) == sixteen_bits(row["weights"])), None)
        cells = [row["engine"], row["weights"], str(row["threads"])]
        for test in TESTS:
            samples = row["samples"][test]
            cells.append(spread(samples, 1))
            compared = own is not None and row["engine"] != "Octavo"
            cells.append(spread(ratios(own["samples"][test], samples), 2) if compared else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def limits_text(rows):
    lines = []
    for threads in sorted({row["threads"] for row in rows}):
        seen = {}
        for row in rows:
            for said in row["said"] if row["threads"] == threads else []:
                for key, value in said.get("limits", {}).items():
                    seen.setdefault(key, []).append(value)
        lines.append(f"limits with {threads} threads: " + ", ".join(f"{k} {spread(v, 1)}" for k, v in seen.items()))
    return "\n".join(lines)


def parse():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shape", required=True)
    parser.add_argument("--model", default="")
    parser.add_argument("--octavo", action="append", default=[])
    parser.add_argument("--llama", action="append", default=[])
    parser.add_argument("--gguf", action="append", default=[])
    parser.add_argument("--vllm", action="append", default=[])
    parser.add_argument("--vllm-config", type=Path)
    parser.add_argument("--vllm-quantization", default="none,fp8_per_block")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--pp", default=512, type=int)
    parser.add_argument("--tg", default=64, type=int)
    parser.add_argument("--batch", default=8, type=int)
    parser.add_argument("--lock", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.llama and not options.gguf or options.vllm and not options.vllm_config:
        sys.exit("bench/peers.py: --llama needs --gguf, --vllm needs --vllm-config")
    return options


def main():
    options = parse()
    rows = []
    for threads in map(int, options.threads.split(",")):
        rows += measure(engines_of(options), threads, options.rounds, options.lock)
    print(table(options.shape, rows, options))
    print(limits_text(rows))
    if options.json:
        options.json.write_text(json.dumps({"shape": options.shape, "rounds": options.rounds, "rows": rows}, indent=1))
    return 1 if any(row["errors"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
