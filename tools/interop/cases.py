"""Which quantizations are checked: every legal pair of scheme and format on every model, and each option somewhere."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Case:
    """One `octavo quantize` run. Fields left at their default are not passed."""

    model: str
    scheme: str
    format: str  # "fp8" or "compressed-tensors"
    dtype: str = "e4m3"
    scale_dtype: str = ""  # "" = the default of the format and the source
    block: int = 128
    edge: str = "partial"
    pow2: bool = False
    direct: bool = False
    lm_head: bool = False
    keep_first: int = 0
    keep_last: int = 0
    ignore: str = ""  # a regex, passed as re:...

    def flags(self) -> list[str]:
        out = ["--scheme", self.scheme, "--format", self.format]
        for flag, value, default in [
            ("--dtype", self.dtype, "e4m3"), ("--scale-dtype", self.scale_dtype, ""), ("--edge", self.edge, "partial"),
            ("--keep-first", self.keep_first, 0), ("--keep-last", self.keep_last, 0)]:
            if value != default:
                out += [flag, str(value)]
        if self.block != 128:
            out += ["--block-size", f"{self.block}x{self.block}"]
        if self.ignore:
            out += ["--ignore", f"re:{self.ignore}"]
        for flag, on in [("--pow2-scales", self.pow2), ("--direct", self.direct), ("--lm-head", self.lm_head)]:
            if on:
                out.append(flag)
        return out

    def name(self) -> str:
        short = "ct" if self.format == "compressed-tensors" else self.format
        extra = [flag.lstrip("-") for flag in self.flags()[4:]]
        return " ".join([self.model, f"{self.scheme}/{short}", *extra])


PAIRS = [
    ("dynamic", "compressed-tensors"), ("block", "fp8"), ("block", "compressed-tensors"),
    ("tensor", "compressed-tensors"), ("tensor", "fp8"), ("weight-only", "compressed-tensors"),
]


def legal_pairs(help_text: str) -> list[tuple[str, str]]:
    """The pairs that `octavo quantize --help` lists; the checks must cover exactly these."""
    table = help_text.split("Legal pairs", 1)[1].split("Example", 1)[0]
    return re.findall(r"^  (\S+) +(fp8|compressed-tensors)\b", table, re.MULTILINE)


def all_cases(models: list[str]) -> list[Case]:
    cases = [Case(model, scheme, format) for model in models for scheme, format in PAIRS]
    ct = "compressed-tensors"
    cases += [Case("llama-bf16", scheme, format, pow2=True) for scheme, format in PAIRS]
    cases += [Case("llama-bf16", scheme, ct, scale_dtype="f32")
              for scheme in ("dynamic", "block", "tensor", "weight-only")]
    cases += [Case("llama-bf16", scheme, "fp8", scale_dtype="bf16") for scheme in ("block", "tensor")]
    cases += [Case("llama-tied-fp16", "dynamic", ct, scale_dtype="bf16")]
    cases += [Case("llama-fp32", scheme, format, direct=True) for scheme, format in PAIRS]
    cases += [Case("qwen3-sharded", scheme, format, keep_first=1, keep_last=1)
              for scheme, format in [("dynamic", ct), ("block", "fp8")]]
    cases += [Case("llama-bf16", scheme, ct, lm_head=True) for scheme in ("dynamic", "block", "tensor", "weight-only")]
    cases += [Case("qwen3-sharded", "dynamic", ct, lm_head=True, ignore=r".*\.down_proj$")]
    cases += [Case("llama-mixed", "block", ct, edge="channel"), Case("qwen3-partial", "block", ct, edge="channel"),
              Case("llama-mixed", "block", ct, edge="channel", lm_head=True)]
    cases += [Case("llama-bf16", "block", format, block=64) for format in ("fp8", ct)]
    cases += [Case("qwen3-partial", "block", format, block=64) for format in ("fp8", ct)]
    cases += [Case("llama-bf16", scheme, "fp8", dtype="e5m2") for scheme in ("block", "tensor")]
    cases += [Case("llama-mixed", "block", "fp8", ignore=r".*\.self_attn\.[qkv]_proj$")]
    return cases
