"""Tensors of others without copies, and weights in memory to FP8."""
from __future__ import annotations

from typing import Any

from octavo import _octavo
from octavo.keywords import check_keywords, to_json

# torch's, numpy's and ml_dtypes' names of element types, as safetensors has them.
_NAMES = {"bfloat16": "BF16", "float16": "F16", "half": "F16", "float32": "F32", "float": "F32",
          "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0", "uint8": "U8"}
# Those that neither protocol carries everywhere: the same memory is looked at as integers, and named.
_AS_INTEGERS = {"float8_e4m3fn": "uint8", "float8_e5m2": "uint8", "float8_e8m0fnu": "uint8"}

_ENCODE_OPTIONS = ("format", "loader", "dtype", "arith", "scale_dtype", "block_size", "pow2_scales", "direct",
                   "nonfinite", "threads")


def dtype_name(dtype: Any) -> str:
    """torch.bfloat16, "bfloat16", numpy.dtype("float32"), "BF16" ... as safetensors has it."""
    name = str(getattr(dtype, "name", None) or dtype).rsplit(".", 1)[-1]
    return _NAMES.get(name, name)


def view(tensor: Any, dtype: Any = None) -> _octavo.Tensor:
    """The tensor's memory: no copy. `dtype` says what the elements mean where their own type cannot: bfloat16 of uint16."""
    if isinstance(tensor, _octavo.Tensor):
        return tensor
    name = "" if dtype is None else dtype_name(dtype)
    if getattr(tensor, "requires_grad", False):
        tensor = tensor.detach()
    own = str(getattr(tensor, "dtype", "")).rsplit(".", 1)[-1]
    is_torch = type(tensor).__module__.split(".")[0] == "torch"
    integers = _AS_INTEGERS.get(own) or ("uint16" if own == "bfloat16" and not is_torch else None)
    if integers is not None and hasattr(tensor, "view"):
        if is_torch:
            import torch
            tensor = tensor.view(getattr(torch, integers))
        else:
            tensor = tensor.view(integers)
        name = name or _NAMES[own]
    return _octavo.Tensor(tensor, name)


def encode(tensor: Any, scheme: str = "dynamic", *, source_dtype: Any = None,
           **options: Any) -> tuple[_octavo.Array, _octavo.Array]:
    """A weight [out, in] of BF16, FP16 or FP32 to its FP8 codes and scales: the bytes that `octavo quantize` writes.

    `scheme`: dynamic, block, tensor, weight-only, mxfp8. `options` are those of `octavo quantize`: format, loader, dtype,
    scale_dtype, block_size, pow2_scales, direct, nonfinite, threads. With "tensor" the scale is that of this weight
    alone. `source_dtype`: what the elements mean, "bfloat16" of a uint16 array. Both results go to numpy.asarray and
    torch.from_dlpack without a copy (codes as uint8; BF16 scales as uint16 in numpy).
    """
    check_keywords("encode()", options, [*_ENCODE_OPTIONS, "scheme", "source_dtype"])
    block = options.get("block_size")
    if isinstance(block, (tuple, list)):
        options["block_size"] = "x".join(str(size) for size in block)
    return _octavo.encode(view(tensor, source_dtype), scheme, to_json(options))
