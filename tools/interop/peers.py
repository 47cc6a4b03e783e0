"""llm-compressor's checkpoints beside ours, of the same model and scheme: names, shapes, dtypes, config, scales and
codes; and what octavo makes of theirs."""

import json
import pathlib
import subprocess
import sys

import torch

import libraries
from cases import Case
from reference import decode, differing, is_scale, spread_scale

SCHEMES = {"FP8_DYNAMIC": "dynamic", "FP8_BLOCK": "block", "MXFP8": "mxfp8", "W8A16": "weight-only", "FP8": "static"}
WAYS = ("oneshot", "model_free_ptq")
TINY = 2.0**-7  # what it stores where a scale of BF16 would be zero: finfo(bfloat16).eps


def make(work: pathlib.Path, sources: dict[str, pathlib.Path]) -> dict[tuple[str, str, str], tuple[pathlib.Path, str]]:
    """(model, way, scheme) -> its folder and "", or the error it gave."""
    jobs, keys = [], []
    for name, source in sources.items():
        for way in WAYS:
            for scheme in SCHEMES:
                if way == "oneshot" or scheme != "FP8":  # static activations need the model
                    keys.append((name, way, scheme))
                    output = work / "llm-compressor" / "-".join(keys[-1])
                    jobs.append(dict(source=str(source), output=str(output), way=way, scheme=scheme))
    file = work / "llm-compressor.json"
    file.write_text(json.dumps(jobs))
    script = pathlib.Path(__file__).with_name("llm_compressor.py")
    done = subprocess.run([sys.executable, script, file], capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(answers) != len(jobs):
        raise RuntimeError(f"llm-compressor stopped after {len(answers)} of {len(jobs)}: {done.stderr[-300:]}")
    return {key: (pathlib.Path(a["output"]), a["error"] or "") for key, a in zip(keys, answers)}


def _config(folder: pathlib.Path) -> dict:
    return json.loads((folder / "config.json").read_text())["quantization_config"]


def same_config(ours: pathlib.Path, theirs: pathlib.Path) -> libraries.Result:
    """All that decides how a loader reads the file. Not compared: the name of the group, the observer that the scales
    came from, the version, and keys that are empty."""
    def core(config: dict) -> dict:
        groups = list(config["config_groups"].values())
        for group in groups:
            group["weights"].pop("observer", None)
        left = {k: v for k, v in config.items() if v not in (None, {}, []) and k not in ("config_groups", "version")}
        return left | {"groups": groups}

    a, b = core(_config(ours)), core(_config(theirs))
    # model_free_ptq had to be told of the embedding, which is no Linear, and lists it.
    b["ignore"] = [n for n in b["ignore"] if "embed" not in n]
    keys = sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))
    return ("fail", f"{keys[0]}: {a.get(keys[0])} against {b.get(keys[0])}") if keys else ("ok", "")


def compare(case: Case, way: str, source: dict, ours: dict, theirs: dict) -> libraries.Result:
    """Every name, shape and dtype alike; every scale and code that differs explained, and those counted."""
    if ours.keys() != theirs.keys():
        return "fail", f"names differ: {sorted(ours.keys() ^ theirs.keys())[:3]}"
    codes = scales = differ = zeros = other = lifted = 0
    for name in ours:
        a, b = ours[name], theirs[name]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return "fail", f"{name}: {list(a.shape)} {a.dtype} against {list(b.shape)} {b.dtype}"
        if is_scale(name):
            continue
        if a.dtype.itemsize > 1:
            if differing({name: a}, {name: b}):
                return "fail", f"{name} is not quantized, and differs"
            continue
        weight, scale, its = source[name], ours[name + "_scale"], theirs[name + "_scale"]
        reason = _unexplained_scales(weight, case, scale, its)
        if reason:
            return "fail", f"{name}_scale: {reason}"
        other += (scale != its).sum().item()
        scales += its.numel()
        # Its arithmetic, from its scale: the quotient is rounded to BF16 before FP8.
        quotient = weight / spread_scale(its, weight.shape, case.block).to(torch.bfloat16)
        if way == "oneshot":
            quotient = quotient + 0.0  # it adds a zero point of 0, which takes the sign of -0
        want = quotient.clamp(-448, 448).to(torch.float8_e4m3fn)
        if differing({name: want}, {name: b}):
            return "fail", f"{name}: codes that BF16 arithmetic does not explain"
        apart = a.view(torch.uint8) != b.view(torch.uint8)
        at_zero = apart & (weight == 0)
        same_scale = spread_scale(scale, weight.shape, case.block) == spread_scale(its, weight.shape, case.block)
        zeros += at_zero.sum().item()
        lifted += (apart & ~at_zero & ~same_scale).sum().item()
        differ += (apart & ~at_zero & same_scale).sum().item()
        codes += b.numel()
    return "ok", (f"codes: {100 * differ / codes:.2f} % differ by its BF16 quotient, {100 * lifted / codes:.2f} % by "
                  f"its scale, {100 * zeros / codes:.2f} % in the sign of zero; {other} of {scales} scales differ")


def _unexplained_scales(weight: torch.Tensor, case: Case, ours: torch.Tensor, its: torch.Tensor) -> str:
    """Scales may differ where all is zero (1 against its 2^-7; the exponent 0 in MXFP8), where BF16 holds no normal
    scale, and in MXFP8 where amax is 448 times a power of two exactly (it takes the exponent above)."""
    apart = ours != its
    if case.scheme == "mxfp8":
        amax = weight.float().reshape(weight.shape[0], -1, 32).abs().amax(2)
        mantissa = torch.frexp(amax).mantissa
        fine = (amax == 0) & (its == 0) | (mantissa == 0.875) & (its.int() == ours.int() + 1)
        fine |= (its == 0) & (ours == 0)
    else:
        smallest = torch.finfo(torch.bfloat16).smallest_normal
        fine = (its == TINY) & ((ours == 1) | (ours.float() < smallest))
    bad = apart & ~fine
    if bad.any():
        at = tuple(bad.nonzero()[0].tolist())
        return f"{bad.sum().item()} differ without a known reason, {ours[at].item()} against {its[at].item()} at {at}"
    return ""


def identical(ours: dict, theirs: dict, source: dict, way: str) -> libraries.Result:
    """--arith bf16: every byte. oneshot alone loses the sign of zeros that the source has (model_free_ptq keeps it)."""
    signs = 0
    if way == "oneshot":
        ours = dict(ours)
        for name, codes in ours.items():
            if name + "_scale" in ours:
                minus = (source[name] == 0) & (codes.view(torch.uint8) == 0x80)
                signs += minus.sum().item()
                ours[name] = torch.where(minus, 0, codes.view(torch.uint8)).view(torch.float8_e4m3fn)
    return libraries.same(ours, theirs, f"{signs} zeros of the source have their sign" if signs else "every byte")


def check_all(checker, made: dict) -> None:
    log = checker.log
    help_text = subprocess.run([checker.octavo, "quantize", "--help"], capture_output=True, text=True).stdout
    has_arith = "--arith" in help_text
    for (name, way, scheme), (theirs, error) in made.items():
        subject = f"llm-compressor {way} {scheme} of {name}"
        model, source_folder, source = checker.sources[name]
        if error:
            partial = (way, scheme) == ("model_free_ptq", "FP8_BLOCK") and not model.whole_blocks
            known = partial and "contiguous" in error
            log.add(subject, "makes a checkpoint",
                    ("skip", "model_free_ptq fails on partial blocks") if known else ("fail", error))
            continue
        case = Case(name, SCHEMES[scheme], "compressed-tensors")
        its = libraries.load_folder(theirs)
        if case.scheme != "static":  # octavo makes no scales of activations yet
            ours = checker.work / "out"
            flags = ["--ignore", "model.embed_tokens"] if way == "model_free_ptq" else []
            checker.empty(ours)
            done = checker.command("quantize", "--quiet", source_folder, "-o", ours, *case.flags(), *flags)
            if log.add(subject, "octavo quantize of the same", done) != "ok":
                continue
            log.add(subject, "names, shapes, scales, codes",
                    checker.guard(compare, case, way, source, libraries.load_folder(ours), its))
            log.add(subject, "config", checker.guard(same_config, ours, theirs))
            if has_arith:
                checker.empty(ours)
                flags = [*case.flags(), "--arith", "bf16"]
                done = checker.command("quantize", "--quiet", source_folder, "-o", ours, *flags)
                if done[0] == "ok":
                    done = checker.guard(identical, libraries.load_folder(ours), its, source, way)
                log.add(subject, "--arith bf16 gives its bytes", done)
        _opens(checker, subject, case, theirs, its, source_folder)


def _opens(checker, subject: str, case: Case, theirs: pathlib.Path, its: dict, source_folder: pathlib.Path) -> None:
    log, work = checker.log, checker.work
    code, answer, line = checker.run_json("inspect", theirs, "--json")
    log.add(subject, "octavo inspect", ("ok", "") if code == 0 and answer else ("fail", line))
    done = checker.command("verify", "--quiet", theirs, "--against", source_folder)
    log.add(subject, "octavo verify --against", done)
    plain = work / "dequantized"
    checker.empty(plain)
    done = checker.command("dequantize", "--quiet", theirs, "-o", plain)
    if done[0] == "ok":
        done = libraries.same(libraries.load_folder(plain), decode(
            {n: t for n, t in its.items() if not n.endswith("input_scale")}, case, torch.bfloat16), "")
    log.add(subject, "octavo dequantize equals PyTorch", done)
    target = work / "converted"
    for scheme, format in (("tensor", "fp8") if case.scheme == "static" else ("block", "fp8"), ("dynamic", "modelopt")):
        checker.empty(target)
        done = checker.command("convert", "--quiet", theirs, "-o", target, "--scheme", scheme, "--format", format)
        if done[0] == "ok":
            done = checker.command("verify", "--quiet", target)
        log.add(subject, f"octavo convert to {scheme}/{format}", done)
