#!/usr/bin/env python3
"""Makes tests/data/gguf_blocks.safetensors: random blocks of every ggml type that Octavo decodes, and the values that
the Python package gguf gives them. Needs: pip install numpy gguf safetensors. Run from the repository's root:

    python3 tools/make_gguf_golden.py
"""

import argparse

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.numpy import save_file

# Where the FP16 numbers (scale, minimum) of a block begin.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip
PLAIN = ["F32", "F16", "BF16"]


def random_halves(rng, count):
    """FP16 bit patterns: normal, subnormal, zero of both signs; no infinity or NaN (their products' NaN bits are the
    machine's choice)."""
    bits = rng.integers(0, 0x7C00, count, dtype=np.uint16)
    kind = rng.integers(0, 4, count)
    bits = np.where(kind == 0, rng.integers(1, 0x0400, count, dtype=np.uint16), bits)  # subnormal
    bits = np.where((kind == 1) & (rng.random(count) < 0.3), np.uint16(0), bits)
    return bits | (rng.integers(0, 2, count, dtype=np.uint16) << np.uint16(15))


def random_blocks(rng, name, count):
    _, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in HALVES[name]:
        blocks[:, offset : offset + 2] = random_halves(rng, count).view(np.uint8).reshape(count, 2)
    return blocks


def random_plain(rng, name, count):
    """Random bits, less infinities and NaNs."""
    if name == "F16":
        return random_halves(rng, count).view(np.uint8).reshape(count, 2)
    size = 4 if name == "F32" else 2
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    top = raw[:, size - 2 :].copy().view(np.uint16)[:, 0]
    raw[(top & 0x7F80) == 0x7F80] = 0
    raw[0, -1] = 0x80  # -0.0 where the rest is cleared
    raw[0, :-1] = 0
    return raw


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="tests/data/gguf_blocks.safetensors")
    parser.add_argument("--seed", type=int, default=20260214)
    parser.add_argument("--elements", type=int, default=2048, help="values of every type")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    tensors = {}
    for name in PLAIN + list(HALVES):
        qtype = GGMLQuantizationType[name]
        block_elements, _ = GGML_QUANT_SIZES[qtype]
        count = args.elements // block_elements
        raw = random_plain(rng, name, count) if name in PLAIN else random_blocks(rng, name, count)
        values = np.ascontiguousarray(dequantize(raw.reshape(1, -1), qtype).astype(np.float32, copy=False)).reshape(-1)
        assert np.isfinite(values).all() and values.size == args.elements
        negative_zeros = int(((values == 0) & np.signbit(values)).sum())
        # Types whose value is a product alone give -0.0 for a zero factor and a negative one.
        assert negative_zeros > 0 or name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K"), name
        if name in HALVES:
            halves = np.concatenate([raw[:, o : o + 2].copy().view(np.uint16)[:, 0] for o in HALVES[name]])
            subnormal = ((halves & 0x7C00) == 0) & ((halves & 0x3FF) != 0)
            assert subnormal.any(), f"{name}: no subnormal scale, take another seed"
        tensors[f"{name}.blocks"] = raw
        tensors[f"{name}.values"] = values
        print(f"{name}: {count} blocks, {negative_zeros} negative zeros")
    save_file(tensors, args.output)


if __name__ == "__main__":
    main()
