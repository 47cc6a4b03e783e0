"""What an output must hold, computed with plain PyTorch from the source and the command line alone."""

import re

import torch

from cases import Case
from models import Model

LINEAR = re.compile(r"model\.layers\.(\d+)\.(self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)$")
FUSED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up"}
CODES = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def is_scale(name: str) -> bool:
    return name.endswith((".weight_scale", ".weight_scale_inv"))


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
    if pow2:
        mantissa, exponent = torch.frexp(scale)  # scale = mantissa * 2^exponent, mantissa in [0.5, 1)
        exponent = torch.where(mantissa == 0.5, exponent - 1, exponent).clamp(min=-127)
        scale = torch.ldexp(torch.ones_like(scale, dtype=torch.float64), exponent).float()
    scale = scale.to(dtype)
    smallest = torch.tensor(1, dtype=torch.int16 if dtype == torch.bfloat16 else torch.int32).view(dtype)
    scale = torch.where(scale == 0, smallest, scale)
    return torch.where(zero, torch.ones_like(scale), scale)


def _quantize(weight: torch.Tensor, amax: torch.Tensor, spread, case: Case, dtype: torch.dtype):
    """Codes and scales; `spread` brings the grid of scales to the weight's shape."""
    largest = torch.finfo(CODES[case.dtype]).max
    scale = _stored(amax / largest, dtype, case.pow2, amax == 0)
    codes = (weight / spread(scale.float())).clamp(-largest, largest).to(CODES[case.dtype])
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

    default = "f32" if case.format == "fp8" or model.dtype == torch.float16 else "bf16"
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
            shape = [] if case.format == "fp8" else [1]
            amax = torch.full(shape, shared[_fused(module)])
            codes, scale = _quantize(weight, amax, lambda s: s, case, scale_dtype)
        else:
            amax, spread = _blocks(weight, case.block)
            codes, scale = _quantize(weight, amax, spread, case, scale_dtype)
            suffix = "_scale_inv" if case.format == "fp8" else "_scale"
        out[name], out[name + suffix] = codes, scale
    return out


def decode(tensors: dict[str, torch.Tensor], case: Case, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The output dequantized: float(code) * scale in FP32, rounded to `dtype`; kept tensors as they are."""
    out = {}
    for name, tensor in tensors.items():
        if is_scale(name):
            continue
        scale = tensors.get(name + "_scale", tensors.get(name + "_scale_inv"))
        if scale is None:
            out[name] = tensor
            continue
        scale = scale.float()
        if scale.dim() == 2 and scale.shape != (tensor.shape[0], 1):
            rows, cols = tensor.shape
            scale = scale.repeat_interleave(case.block, 0)[:rows].repeat_interleave(case.block, 1)[:, :cols]
        out[name] = (tensor.float() * scale).to(dtype)
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
