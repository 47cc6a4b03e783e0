"""Quantizes tiny models with octavo and holds every output against PyTorch, safetensors, compressed-tensors and
transformers. One line a check; exit code 1 when one fails. Run by tools/interop.sh."""

import argparse
import collections
import contextlib
import functools
import importlib.metadata
import io
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

import libraries  # noqa: E402
import reference  # noqa: E402
from cases import PAIRS, Case, all_cases, legal_pairs  # noqa: E402
from models import MODELS, Model, make  # noqa: E402

logger.remove()  # compressed-tensors' warnings; what matters of them is checked


class Log:
    """One line a check, and the counts."""

    def __init__(self) -> None:
        self.counts = collections.Counter()
        self.skips = collections.Counter()
        self.failures = []

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

    def close(self) -> int:
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
        add("compressed-tensors", guard(libraries.check_compressed_tensors, out, case, tensors, dequantized))
        if case.format == "fp8":
            add("transformers' FP8 modules", guard(libraries.check_fp8_modules, out, case, tensors))
        routes = [add(f"transformers{', dequantize=True' if dequantize else ''}",
                      guard(libraries.check_transformers, out, case, dequantize, tensors, dequantized, dequantized_f32,
                            model.tied)) for dequantize in (False, True)]
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
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    torch.manual_seed(0)
    for name in ("torch", "transformers", "compressed-tensors", "safetensors"):
        print(f"{name} {importlib.metadata.version(name)}")
    print(subprocess.run([options.octavo, "--version"], capture_output=True, text=True, check=True).stdout)

    log = Log()
    checker = Checker(options.octavo, options.work, log)
    help_run = subprocess.run([options.octavo, "quantize", "--help"], capture_output=True, text=True, check=True)
    pairs = legal_pairs(help_run.stdout)
    result = ("ok", f"{len(PAIRS)} pairs") if pairs == PAIRS else ("fail", f"--help lists {pairs}")
    log.add("legal pairs", "all are checked here", result)
    cases = [case for case in all_cases([model.name for model in MODELS]) if options.only in case.name()]
    for model in MODELS:
        if any(case.model == model.name for case in cases):
            folder = options.work / model.name
            with contextlib.redirect_stderr(io.StringIO()):
                make(model, folder)
            checker.add_source(model, folder)
    for case in cases:
        checker.check(case)
    if not options.only:
        checker.control(MODELS[0].name)
    if options.gguf:
        checker.gguf(options.gguf)
    return log.close()


if __name__ == "__main__":
    sys.exit(main())
