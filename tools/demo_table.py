#!/usr/bin/env python3
"""What the quantization cost, as one table: reads the JSON of `octavo quantize` and `octavo verify --against`."""
import json
import sys


def mega(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


def decibel(value) -> str:
    return "exact" if value is None else f"{value:.2f} dB"


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        quantize = json.load(file)
    with open(sys.argv[2], encoding="utf-8") as file:
        verify = json.load(file)
    before, after = quantize["source_bytes"], quantize["output_bytes"]
    print("What it cost")
    print(f"  bytes         {mega(before)} -> {mega(after)} ({100 * after / before:.1f} %)")
    print(f"  time          {quantize['seconds']:.2f} s, {quantize['gb_per_s']:.2f} GB/s, "
          f"peak memory {mega(quantize['peak_memory_bytes'])}")
    print(f"  {'kind':<12} {'tensors':>7} {'worst SQNR':>12} {'median SQNR':>12}   scales")
    for kind in verify["kinds"]:
        print(f"  {kind['kind']:<12} {kind['tensors']:>7} {decibel(kind['worst_sqnr_db']):>12} "
              f"{decibel(kind['median_sqnr_db']):>12}   {kind['min_scale']:.3g} .. {kind['max_scale']:.3g}")


if __name__ == "__main__":
    main()
