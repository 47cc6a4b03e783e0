"""What an output must hold, computed with plain PyTorch from the source and the command line alone."""

import re

import torch

from cases import Case
from models import Model

LINEAR = re.compile(r"model\.layers\.(\d+)\.(self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)$")
FUSED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up"}
GROUP = 32  # of MXFP8: values that share an exponent
CODES = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def is_scale(name: str) -> bool:
    return name.endswith((".weight_scale", ".weight_scale_inv", ".input_scale"))


def is_quantized(module: str, case: Case, model: Model) -> bool:
    if case.ignore and re.match(case.ignore, module):
        return False
    if module == "lm_head":
        return case.lm_head
    match = LINEAR.match(module)
    return bool(match) and case.keep_first <= int(match[1]) < model.layers - case.keep_last


def _fused(module: str) -> str:
    parent, _, leaf = module.rpartition(".")
    return f"{parent}.{FUSED.get(leaf, leaf)}"


def _edge_modules(weights: dict[str, torch.Tensor], case: Case) -> set[str]:
    """--edge channel: modules that the block does not divide, with what engines fuse them with."""
    ragged = {_fused(m) for m, w in weights.items() if w.shape[0] % case.block or w.shape[1] % case.block}
    return {m for m in weights if _fused(m) in ragged}


def _stored(scale: torch.Tensor, dtype: torch.dtype, pow2: bool, zero: torch.Tensor) -> torch.Tensor:
    """From amax / max to the scale as stored; `zero` marks groups that hold nothing but zeros."""
    if pow2 or dtype == torch.uint8:
        mantissa, exponent = torch.frexp(scale)  # scale = mantissa * 2^exponent, mantissa in [0.5, 1)
        exponent = torch.where(mantissa == 0.5, exponent - 1, exponent).clamp(min=-127)
        if dtype == torch.uint8:  # E8M0
            return (torch.where(zero, 0, exponent) + 127).to(torch.uint8)
        scale = torch.ldexp(torch.ones_like(scale, dtype=torch.float64), exponent).float()
    scale = scale.to(dtype)
    smallest = torch.tensor(1, dtype=torch.int16 if dtype == torch.bfloat16 else torch.int32).view(dtype)
    scale = torch.where(scale == 0, smallest, scale)
    return torch.where(zero, torch.ones_like(scale), scale)


def as_float(scale: torch.Tensor) -> torch.Tensor:
    """A scale as it multiplies, in FP32; bytes are E8M0 exponents."""
    if scale.dtype != torch.uint8:
        return scale.float()
    return torch.ldexp(torch.ones(scale.shape, dtype=torch.float64), scale.int() - 127).float()


def _quantize(weight: torch.Tensor, amax: torch.Tensor, spread, case: Case, dtype: torch.dtype):
    """Codes and scales; `spread` brings the grid of scales to the weight's shape."""
    largest = torch.finfo(CODES[case.dtype]).max
    scale = _stored(amax / largest, dtype, case.pow2, amax == 0)
    codes = (weight / spread(as_float(scale))).clamp(-largest, largest).to(CODES[case.dtype])
    return codes, scale


def _blocks(weight: torch.Tensor, size: int):
    rows, cols = weight.shape
    padded = torch.nn.functional.pad(weight, (0, -cols % size, 0, -rows % size))
    amax = padded.reshape(padded.shape[0] // size, size, -1, size).abs().amax(dim=(1, 3))
    return amax, lambda s: s.repeat_interleave(size, 0)[:rows].repeat_interleave(size, 1)[:, :cols]


def expected(source: dict[str, torch.Tensor], case: Case, model: Model) -> dict[str, torch.Tensor]:
    """Every tensor of the output, by name."""
    out = {}
    modules = {name.removesuffix(".weight"): name for name in source if name.endswith(".weight")}
    weights = {}
    for module, name in modules.items():
        if is_quantized(module, case, model):
            weight = source[name]
            if weight.dtype == torch.float32 and not case.direct:
                weight = weight.bfloat16()  # the model that BF16 serving would run
            weights[module] = weight.float()
    layers = {m: w for m, w in weights.items() if m != "lm_head"}
    edge = _edge_modules(layers, case) if case.edge == "channel" else set()
    shared = {}  # --scheme tensor: one amax for q/k/v, one for gate/up
    for module, weight in weights.items():
        shared[_fused(module)] = max(shared.get(_fused(module), 0.0), weight.abs().max().item())

    default = "f32" if case.format != "compressed-tensors" or model.dtype == torch.float16 else "bf16"
    scale_dtype = torch.bfloat16 if (case.scale_dtype or default) == "bf16" else torch.float32
    for name, tensor in source.items():
        module = name.removesuffix(".weight")
        if module not in weights:
            out[name] = tensor
            continue
        weight, suffix = weights[module], "_scale"
        if case.scheme in ("dynamic", "weight-only") or module == "lm_head" or module in edge:
            codes, scale = _quantize(weight, weight.abs().amax(1, keepdim=True), lambda s: s, case, scale_dtype)
        elif case.scheme == "tensor":
            shape = [1] if case.format == "compressed-tensors" else []
            amax = torch.full(shape, shared[_fused(module)])
            codes, scale = _quantize(weight, amax, lambda s: s, case, scale_dtype)
        elif case.scheme == "mxfp8":
            amax = weight.reshape(weight.shape[0], -1, GROUP).abs().amax(2)
            codes, scale = _quantize(weight, amax, lambda s: s.repeat_interleave(GROUP, 1), case, torch.uint8)
        else:
            amax, spread = _blocks(weight, case.block)
            codes, scale = _quantize(weight, amax, spread, case, scale_dtype)
        if case.format == "modelopt" and case.scheme == "dynamic":
            scale = scale[:, 0]
        elif case.format == "modelopt" and case.scheme == "block":
            scale = scale[:, None, :, None]
        elif (case.format, case.scheme) == ("fp8", "block") or case.loader == "sglang":
            suffix = "_scale_inv"
        out[name], out[name + suffix] = codes, scale
    return out


def spread_scale(scale: torch.Tensor, shape: torch.Size, block: int) -> torch.Tensor:
    """A scale as stored, in FP32, in a shape that multiplies a weight of `shape`."""
    grouped, scale = scale.dtype == torch.uint8, as_float(scale)
    if scale.dim() == 4:
        scale = scale[:, 0, :, 0]
    if scale.dim() == 1 and len(scale) == shape[0] != 1:
        return scale[:, None]
    if grouped:
        return scale.repeat_interleave(GROUP, 1)
    if scale.dim() == 2 and scale.shape != (shape[0], 1):
        return scale.repeat_interleave(block, 0)[: shape[0]].repeat_interleave(block, 1)[:, : shape[1]]
    return scale


def decode(tensors: dict[str, torch.Tensor], case: Case, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The output dequantized: float(code) * scale in FP32, rounded to `dtype`; kept tensors as they are."""
    out = {}
    for name, tensor in tensors.items():
        if is_scale(name):
            continue
        scale = tensors.get(name + "_scale", tensors.get(name + "_scale_inv"))
        out[name] = tensor if scale is None else (
            tensor.float() * spread_scale(scale, tensor.shape, case.block)).to(dtype)
    return out


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> str:
    """"" when both hold the same tensors byte for byte, else one phrase that says where they do not."""
    if a.keys() != b.keys():
        only_a, only_b = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
        return f"names differ: only the first has {only_a[:3]}, only the second {only_b[:3]}"
    for name in sorted(a):
        x, y = a[name], b[name]
        if x.dtype != y.dtype or x.shape != y.shape:
            return f"{name}: {x.dtype} {list(x.shape)} against {y.dtype} {list(y.shape)}"
        x, y = (t.contiguous().reshape(-1).view(torch.uint8) for t in (x, y))
        wrong = (x != y).nonzero()
        if len(wrong):
            return f"{name}: {len(wrong)} of {len(x)} bytes differ, the first at {wrong[0].item()}"
    return ""
