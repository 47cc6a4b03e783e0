#!/usr/bin/env python3
"""Make tests/data/fp8_golden.json: what PyTorch's FP8 casts give, for tests/fp8/golden_test.cc.

    pip install torch && python tools/make_fp8_golden.py tests/data/fp8_golden.json

For each FP8 format the file holds the code of
  - every BF16 and every FP16 bit pattern, as runs: [first pattern, code], the code standing until the next run;
  - FP32 values around every rounding boundary (each midpoint of two neighbouring codes, and the floats just below
    and above it) and random ones, as [FP32 bits, code].
PyTorch's casts do not saturate, so values (infinity included) are clamped to +-max first. NaN codes are PyTorch's own.
For FP32 to BF16 and FP16 it holds [FP32 bits, 16 bits] of random values, boundaries among them.
"""

import argparse
import json

import torch

FORMATS = {
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
    "e4m3fnuz": torch.float8_e4m3fnuz,
    "e5m2fnuz": torch.float8_e5m2fnuz,
}


def encode(values: torch.Tensor, dtype: torch.dtype) -> list[int]:
    largest = torch.finfo(dtype).max
    return values.float().clamp(-largest, largest).to(dtype).view(torch.uint8).tolist()


def runs(codes: list[int]) -> list[list[int]]:
    return [[i, c] for i, c in enumerate(codes) if i == 0 or codes[i - 1] != c]


def bits32(values: torch.Tensor) -> list[int]:
    return [b & 0xFFFFFFFF for b in values.view(torch.int32).tolist()]


def boundaries(dtype: torch.dtype) -> torch.Tensor:
    codes = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(dtype).double()
    codes = codes[codes.isfinite()].unique()  # sorted
    middle = ((codes[1:] + codes[:-1]) / 2).float()  # exact: one more bit than a code
    infinity = torch.tensor(float("inf"))
    return torch.cat([torch.nextafter(middle, -infinity), middle, torch.nextafter(middle, infinity)])


def random_floats(count: int, generator: torch.Generator) -> torch.Tensor:
    """Finite FP32 of any exponent."""
    bits = torch.randint(-(2**31), 2**31, (count,), generator=generator).to(torch.int32)
    values = bits.view(torch.float32)
    return values[values.isfinite()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="the JSON file to write")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(args.seed)

    patterns = torch.arange(65536, dtype=torch.int32).to(torch.int16)
    golden = {"torch": torch.__version__, "seed": args.seed, "formats": {}, "halves": {}}
    for name, dtype in FORMATS.items():
        values = torch.cat([boundaries(dtype), random_floats(500, generator)])
        golden["formats"][name] = {
            "bf16": runs(encode(patterns.view(torch.bfloat16), dtype)),
            "f16": runs(encode(patterns.view(torch.float16), dtype)),
            "f32": [list(pair) for pair in zip(bits32(values), encode(values, dtype))],
        }
    for name, dtype in {"bf16": torch.bfloat16, "f16": torch.float16}.items():
        # Half of the values get the lower bits of a tie or of its neighbours.
        values = torch.cat([random_floats(500, generator), torch.randn(1500, generator=generator)])
        dropped = 16 if dtype == torch.bfloat16 else 13
        bits = values.view(torch.int32).clone()
        near = torch.randint(-1, 2, (bits.numel() // 2,), generator=generator).to(torch.int32)
        bits[::2][: near.numel()] = (bits[::2][: near.numel()] >> dropped << dropped) + 2 ** (dropped - 1) + near
        values = bits.view(torch.float32)
        halves = [b & 0xFFFF for b in values.to(dtype).view(torch.int16).tolist()]
        golden["halves"][name] = [list(pair) for pair in zip(bits32(values), halves)]

    with open(args.output, "w", encoding="utf-8") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")
    print(f"{args.output}: made with torch {torch.__version__}")


if __name__ == "__main__":
    main()
