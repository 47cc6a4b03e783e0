"""FP8 checkpoints and what running them means, in plain PyTorch: nothing here comes from Octavo.

W8A16: codes times scales in FP32, inputs as they are. W8A8: inputs rounded to E4M3 under the scheme's scales first.
Products are summed in FP32.
"""

from dataclasses import dataclass

import torch
from torch import nn

E4M3_MAX = 448.0
FUSED = [["q_proj", "k_proj", "v_proj"], ["gate_proj", "up_proj"]]  # share a per-tensor scale


@dataclass
class Scheme:
    granularity: str  # "tensor", "channel", "block"
    activation: str  # "none", "token", "group", "static"
    dialect: str  # "fp8", "compressed-tensors"
    block: int = 128
    pow2: bool = False  # scales are powers of two, of weights and of activations (ue8m0)
    scale_dtype: torch.dtype = torch.float32


def scale_of(amax, pow2=False, dtype=torch.float32):
    """Scale of a group whose largest magnitude is amax: amax / 448, at zero 1; rounded as it will be stored."""
    scale = amax / E4M3_MAX
    if pow2:  # up to the next power of two
        mantissa, exponent = torch.frexp(scale)
        scale = torch.ldexp(torch.ones_like(scale), torch.where(mantissa == 0.5, exponent - 1, exponent))
    return torch.where(amax == 0, 1.0, scale).to(dtype).float()


def to_codes(scaled):
    """E4M3 codes, to nearest even; PyTorch's cast does not saturate, so clamp first."""
    return scaled.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)


def spread(scale, shape, block_n, block_k):
    """A grid of scales, one for every block, as a matrix of `shape`."""
    return scale.repeat_interleave(block_n, 0)[: shape[0]].repeat_interleave(block_k, 1)[:, : shape[1]]


def block_of(scheme, shape):
    return {"tensor": shape, "channel": (1, shape[1]), "block": (scheme.block, scheme.block)}[scheme.granularity]


def quantize(weight, scheme, amax=None):
    """(codes, scale grid in FP32) of a BF16 or FP32 weight; `amax` of a fused group stands for the weight's own."""
    w = weight.float()
    n, k = w.shape
    block_n, block_k = block_of(scheme, w.shape)
    rows, cols = -(-n // block_n), -(-k // block_k)
    padded = torch.zeros(rows * block_n, cols * block_k)
    padded[:n, :k] = w
    if amax is None:
        amax = padded.reshape(rows, block_n, cols, block_k).abs().amax((1, 3))
    scale = scale_of(amax.reshape(rows, cols), scheme.pow2, scheme.scale_dtype)
    return to_codes(w / spread(scale, w.shape, block_n, block_k)), scale


def is_quantized(name):
    return name.endswith("_proj.weight")


def quantize_model(tensors, scheme):
    """Of every linear in the layers: module name -> (codes, scale grid)."""
    amax = {}
    if scheme.granularity == "tensor":
        for group in FUSED:
            for name in [n for n in tensors if n.endswith(f".{group[0]}.weight")]:
                names = [name.replace(group[0], member) for member in group]
                amax |= dict.fromkeys(names, max(tensors[n].float().abs().max() for n in names))
    return {
        name.removesuffix(".weight"): quantize(value, scheme, amax.get(name))
        for name, value in tensors.items()
        if is_quantized(name)
    }


def disk_tensors(quantized, scheme, input_scales):
    """What a folder holds of the quantized linears: (codes and weight scales, input scales)."""
    out, inputs = {}, {}
    ct = scheme.dialect == "compressed-tensors"
    for module, (codes, scale) in quantized.items():
        out[f"{module}.weight"] = codes
        stored = scale.to(scheme.scale_dtype)
        if scheme.granularity == "tensor":
            stored = stored.reshape([1] if ct else [])
        name = "weight_scale_inv" if scheme.granularity == "block" and not ct else "weight_scale"
        out[f"{module}.{name}"] = stored
        if module in input_scales:
            inputs[f"{module}.input_scale"] = input_scales[module].to(scheme.scale_dtype).reshape([1] if ct else [])
    return out, inputs


def quantization_config(scheme):
    if scheme.dialect == "fp8":
        config = {"quant_method": "fp8", "activation_scheme": "static" if scheme.activation == "static" else "dynamic"}
        if scheme.granularity == "block":
            config |= {"fmt": "e4m3", "weight_block_size": [scheme.block, scheme.block]}
        if scheme.pow2:
            config["scale_fmt"] = "ue8m0"
        return config | {"ignored_layers": ["lm_head"], "modules_to_not_convert": ["lm_head"]}
    common = {"num_bits": 8, "type": "float", "symmetric": True, "group_size": None}
    weights = common | {"strategy": scheme.granularity, "dynamic": False}
    if scheme.granularity == "block":
        weights["block_structure"] = [scheme.block, scheme.block]
    inputs = {
        "none": None,
        "token": common | {"strategy": "token", "dynamic": True},
        "group": common | {"strategy": "group", "group_size": scheme.block, "dynamic": True},
        "static": common | {"strategy": "tensor", "dynamic": False},
    }[scheme.activation]
    layout = "naive-quantized" if inputs is None else "float-quantized"
    group = {"format": layout, "targets": ["Linear"], "weights": weights, "input_activations": inputs,
             "output_activations": None}  # fmt: skip
    return {"quant_method": "compressed-tensors", "format": layout, "quantization_status": "compressed",
            "config_groups": {"group_0": group}, "ignore": ["lm_head"], "kv_cache_scheme": None}  # fmt: skip


class Fp8Linear(nn.Module):
    """A linear layer whose weight is codes times scales."""

    def __init__(self, codes, scale, scheme, bias, input_scale):
        super().__init__()
        self.weight = codes.float() * spread(scale, codes.shape, *block_of(scheme, codes.shape))
        self.bias = bias
        self.scheme = scheme
        self.input_scale = input_scale
        self.round_inputs = False
        self.noise = None  # make_golden.Noise: added to inputs and outputs
        self.codes = None  # of the last inputs

    def rounded(self, x):
        if self.scheme.activation == "none":
            return x
        if self.scheme.activation == "static":
            scale = self.input_scale
        elif self.scheme.activation == "token":
            scale = scale_of(x.abs().amax(-1, keepdim=True), self.scheme.pow2)
        else:
            groups = x.split(self.scheme.block, -1)
            scales = [scale_of(g.abs().amax(-1, keepdim=True), self.scheme.pow2).expand_as(g) for g in groups]
            scale = torch.cat(scales, -1)
        codes = to_codes(x / scale)
        self.codes = codes.view(torch.uint8)
        return codes.float() * scale

    def forward(self, x):
        values = x.float()
        if self.noise is not None:
            values = values + self.noise.of_elements(values)
        if self.round_inputs:
            values = self.rounded(values)
        y = values @ self.weight.T
        if self.bias is not None:
            y = y + self.bias.float()
        if self.noise is not None:
            y = y + self.noise.of_sums(y)
        return y.to(x.dtype)


def replace_linears(model, quantized, scheme, input_scales):
    """Puts an Fp8Linear in the place of every quantized linear of a transformers model."""
    for module, (codes, scale) in quantized.items():
        parent, _, name = module.rpartition(".")
        old = model.get_submodule(module)
        new = Fp8Linear(codes, scale, scheme, old.bias, input_scales.get(module))
        setattr(model.get_submodule(parent), name, new)


def fp8_linears(model):
    return [m for m in model.modules() if isinstance(m, Fp8Linear)]
