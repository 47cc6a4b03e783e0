"""Which quantizations are checked: every pair that the program says it writes, on every model, and each option
somewhere."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One `octavo quantize` run. Fields left at their default are not passed."""

    model: str
    scheme: str
    format: str  # "fp8", "compressed-tensors", "modelopt" or "mxfp8"
    loader: str = ""  # --for, where the pair has no bytes without it
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
        if self.loader:
            out += ["--for", self.loader]
        for flag, on in [("--pow2-scales", self.pow2), ("--direct", self.direct), ("--lm-head", self.lm_head)]:
            if on:
                out.append(flag)
        return out

    def name(self) -> str:
        extra = [flag.lstrip("-") for flag in self.flags()[4:]]
        return " ".join([self.model, self.pair(), *extra])

    def marked(self) -> str:
        """The row of the table of pairs and loaders: the pair's name, or one of its own for what is an option."""
        plain = Case("", self.scheme, self.format, loader=self.loader).name().strip()
        return plain if self.name() == f"{self.model} {plain}" else ""

    def pair(self) -> str:
        return f"{self.scheme}/{'ct' if self.format == 'compressed-tensors' else self.format}"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A row of `octavo formats --json` that is written. `loads`: loader -> what the program says of it."""

    scheme: str
    format: str
    scale: str  # how the scale's name ends
    loader: str  # --for, where the format needs it to know the scale's name
    loads: dict = dataclasses.field(hash=False, compare=False)

    def case(self, model: str, **options) -> Case:
        return Case(model, self.scheme, self.format, loader=self.loader, **options)

    def name(self) -> str:
        return self.case("").name().strip()


def written_pairs(formats: dict) -> list[Pair]:
    """What `octavo formats --json` says is written. Where one pair is written with two names of the scale, --for says
    which: by a loader that takes the one and not the other."""
    rows = [row for row in formats["formats"] if row["written"]]
    pairs = []
    for row in rows:
        rivals = [r for r in rows if r is not row and (r["scheme"], r["format"]) == (row["scheme"], row["format"])]
        takes = [loader for loader, answer in row["loads"].items()
                 if not answer.startswith("no") and all(r["loads"][loader].startswith("no") for r in rivals)]
        loader = takes[0] if rivals else ""
        pairs.append(Pair(row["scheme"], row["format"], row["scale"], loader, row["loads"]))
    return pairs


def all_cases(models: list[str], pairs: list[Pair]) -> list[Case]:
    """`static` is not among them: nothing measures activations yet, so it is only converted."""
    pairs = [pair for pair in pairs if pair.scheme != "static"]
    scaled = [pair for pair in pairs if pair.scheme != "mxfp8"]  # those whose scales are numbers, not exponents
    cases = [pair.case(model) for model in models for pair in pairs]
    ct = "compressed-tensors"
    cases += [pair.case("llama-bf16", pow2=True) for pair in scaled]
    cases += [Case("llama-bf16", scheme, ct, scale_dtype="f32")
              for scheme in ("dynamic", "block", "tensor", "weight-only")]
    cases += [Case("llama-bf16", scheme, "fp8", scale_dtype="bf16") for scheme in ("block", "tensor")]
    cases += [Case("llama-tied-fp16", "dynamic", ct, scale_dtype="bf16")]
    cases += [pair.case("llama-fp32", direct=True) for pair in pairs]
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
