"""`octavo convert` between every two pairs that are written: codes untouched where they can be, otherwise exactly what
PyTorch makes of the dequantized weights; names and config as `octavo quantize` writes them."""

import dataclasses
import json
import pathlib

import torch

import libraries
from cases import Case, Pair
from models import Model
from reference import decode, differing, expected, is_scale


def quantization_config(folder: pathlib.Path) -> dict:
    return json.loads((folder / "config.json").read_text())["quantization_config"]


def _same_bytes(a: torch.Tensor, b: torch.Tensor) -> bool:
    return not differing({"": a}, {"": b})


def _scale_name(tensors: dict[str, torch.Tensor], weight: str) -> str:
    return next(n for n in (weight + "_scale", weight + "_scale_inv") if n in tensors)


@dataclasses.dataclass
class Opened:
    """A folder of `case`: its tensors, and its weights dequantized by octavo (BF16) and by PyTorch (FP32)."""

    case: Case
    folder: pathlib.Path
    tensors: dict[str, torch.Tensor]
    dequantized: dict[str, torch.Tensor]
    values: dict[str, torch.Tensor]


def compare(summary: dict, model: Model, old: Opened, new_case: Case, after: dict) -> libraries.Result:
    """`new_case`, `after`: what octavo made of `old`."""
    before, dequantized = old.tensors, old.dequantized
    want = expected(dequantized, new_case, model)
    inputs = {n for n in after if n.endswith(".input_scale")}
    if after.keys() - inputs != want.keys():
        return "fail", f"names differ: {sorted((after.keys() - inputs) ^ want.keys())[:3]}"
    if any(not torch.equal(after[n].reshape(-1).float(), before[n].reshape(-1).float()) for n in inputs):
        return "fail", "scales of activations changed"
    values = decode(after, new_case, torch.float32)
    relabelled = again = 0
    for name in want:
        if is_scale(name):
            continue
        if after[name].dtype.itemsize > 1:
            if not _same_bytes(after[name], before[name]):
                return "fail", f"{name} changed"
            continue
        scale = _scale_name(after, name)
        if _same_bytes(after[name], before[name]) and torch.equal(old.values[name], values[name]):
            relabelled += 1
            if after[scale].shape != want[scale].shape:
                return "fail", f"{scale}: shape {list(after[scale].shape)}, not {list(want[scale].shape)}"
        elif _same_bytes(after[name], want[name]) and _same_bytes(after[scale], want[scale]):
            again += 1
        else:
            return "fail", f"{name}: neither the old codes nor what PyTorch makes of the dequantized weight"
    # Encoding again may give the old codes; the reverse cannot be.
    if again > summary["quantized"] - summary["relabelled"]:
        return "fail", f"{again} weights are encoded again; the summary says {summary['relabelled']} are not"
    if old.case.scheme == new_case.scheme and again:
        return "fail", f"{again} codes changed with the dialect alone"
    return "ok", f"{relabelled} relabelled, {again} encoded again"


def check_all(checker, pairs: list[Pair], model: Model, folder: pathlib.Path,
              static: pathlib.Path | None) -> dict[str, pathlib.Path]:
    """`static`: the same model with static activations, by llm-compressor. Returns the folders of static pairs, which
    nothing but a conversion makes yet."""
    work, kept = checker.work, {}
    made = {}  # name of a pair -> Opened
    for pair in pairs:
        if pair.scheme != "static":
            out = work / "from" / pair.name().replace("/", "-").replace(" ", "-")
            made[pair.name()] = _open(checker, pair.case(model.name), folder, out)
    if static:
        case = Case(model.name, "static", "compressed-tensors")
        made["static/ct by llm-compressor"] = _read(checker, case, static)
    for source, old in made.items():
        for pair in pairs:
            if pair.scheme == "static" and old.case.scheme != "static":
                continue
            case = pair.case(model.name)
            out = work / ("static-" + pair.format if pair.scheme == "static" else "converted")
            checker.empty(out)
            subject = f"{source} to {pair.name()}"
            code, summary, line = checker.run_json("convert", "--quiet", old.folder, "-o", out, *case.flags(), "--json")
            if code != 0:
                checker.log.add(subject, "octavo convert", ("fail", f"exit code {code}: {line}"))
                continue
            after = libraries.load_folder(out)
            reference_case = case if case.scheme != "static" else Case(model.name, "tensor", case.format)
            checker.log.add(subject, "codes and scales", checker.guard(
                compare, summary, model, old, reference_case, after))
            twin = made.get(pair.name())
            if twin:
                same = quantization_config(out) == quantization_config(twin.folder)
                checker.log.add(subject, "the config is that of octavo quantize", ("ok" if same else "fail", ""))
            checker.log.add(subject, "octavo verify", checker.command("verify", "--quiet", out))
            if pair.scheme == "static":
                kept[pair.name()] = out
                _open_static(checker, subject, pair, case, out, after, old.dequantized)
    return kept


def _open_static(checker, subject: str, pair: Pair, case: Case, out: pathlib.Path, tensors, dequantized) -> None:
    checker.log.mark(pair.name(), "PyTorch", "run")  # compare()
    if pair.format == "compressed-tensors":
        done = checker.guard(libraries.check_compressed_tensors, out, case, tensors, dequantized)
        checker.opened(subject, pair.name(), "compressed-tensors", done)
    if pair.format == "modelopt":
        done = checker.guard(libraries.check_modelopt, case, tensors, dequantized)
        checker.opened(subject, pair.name(), "ModelOpt", done)
    values = decode(tensors, case, torch.float32)
    for dequantize in (False, True):
        done = checker.guard(libraries.check_transformers, out, case, dequantize, tensors, dequantized, values, False)
        checker.opened(subject, pair.name(), "transformers", done, ", dequantize=True" if dequantize else "")


def _open(checker, case: Case, source: pathlib.Path, out: pathlib.Path) -> Opened:
    checker.empty(out)
    out.parent.mkdir(exist_ok=True)
    code, line = checker.run("quantize", "--quiet", source, "-o", out, *case.flags())
    if code != 0:
        raise RuntimeError(line)
    return _read(checker, case, out)


def _read(checker, case: Case, folder: pathlib.Path) -> Opened:
    plain = checker.work / "dequantized"
    checker.empty(plain)
    code, line = checker.run("dequantize", "--quiet", folder, "-o", plain)
    if code != 0:
        raise RuntimeError(line)
    tensors = libraries.load_folder(folder)
    return Opened(case, folder, tensors, libraries.load_folder(plain), decode(tensors, case, torch.float32))
