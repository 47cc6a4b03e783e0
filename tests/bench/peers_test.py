#!/usr/bin/env python3
"""Fails when bench/peers.py misreads what the engines print, or divides the wrong way round."""
import argparse
import pathlib
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else __file__ + "/../../..").resolve()
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench"))
import peers  # noqa: E402

# Cut from what the programs printed.
OCTAVO = """{"model": "qwen3-0.6b", "threads": 2, "limits": {"dram_gb_per_s": 32.1, "bf16_gflop_per_s": null,
  "fma_gflop_per_s": 440.5, "peak": "fma", "dram_bytes": 8589934592, "spread": {"dram_gb_per_s": {"median": 32.1}}},
  "prefill": {"name": "pp512", "tokens_per_s": 266.5}, "decode": {"name": "tg64", "tokens_per_s": 32.6},
  "tests": [{"name": "pp512", "batch": 1, "tokens_per_s": 266.5}, {"name": "tg64", "batch": 1, "tokens_per_s": 32.6},
            {"name": "batch 8", "batch": 8, "tokens_per_s": 132.0}]}"""
LLAMA_BENCH = """[{"build_commit": "0c1e57098", "build_number": 0, "n_prompt": 512, "n_gen": 0, "avg_ts": 225.25,
  "stddev_ts": 0.0, "samples_ts": [225.25]},
  {"build_commit": "0c1e57098", "n_prompt": 0, "n_gen": 64, "avg_ts": 28.5}]"""
BATCHED_BENCH = """
main: n_kv_max = 512, n_batch = 2048, n_ubatch = 512, flash_attn = -1, n_gpu_layers = -1, n_threads = 2

|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|
|     1 |      8 |    8 |     72 |    0.135 |    59.26 |    0.774 |    82.69 |    0.909 |    79.21 |

llama_perf_context_print:        load time =     512.33 ms
"""


def row(engine, weights, prefill):
    return {"engine": engine, "weights": weights, "threads": 2, "said": [], "errors": [],
            "samples": {"prefill": prefill, "decode": [None] * len(prefill), "batch": [None] * len(prefill)}}


class Parsers(unittest.TestCase):
    def test_octavo(self):
        tests, limits = peers.parse_octavo(OCTAVO)
        self.assertEqual(tests, {"prefill": 266.5, "decode": 32.6, "batch": 132.0})
        self.assertEqual(limits["dram_gb_per_s"], 32.1)
        self.assertNotIn("dram_bytes", limits)

    def test_llama_bench(self):
        self.assertEqual(peers.parse_llama_bench(LLAMA_BENCH), ({"prefill": 225.25, "decode": 28.5}, "0c1e57098"))

    def test_batched_bench(self):
        self.assertEqual(peers.parse_batched_bench(BATCHED_BENCH), 82.69)

    def test_command(self):
        self.assertEqual(peers.command_of("A=1 B='x y' bin/octavo --flag z=1"),
                         ({"A": "1", "B": "x y"}, "bin/octavo", ["--flag", "z=1"]))


class Table(unittest.TestCase):
    def lines(self, *rows):
        text = peers.table("shape", rows, argparse.Namespace(pp=512, tg=64, batch=8))
        return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]

    def test_ratios_pair_rounds_and_kinds_of_weights(self):
        lines = self.lines(row("Octavo", "bf16", [100.0, 110.0, 120.0]),
                           row("Octavo", "fp8_block", [200.0, 220.0, 240.0]),
                           row("peer", "bf16", [50.0, 110.0, 60.0]), row("peer", "q8_0", [400.0, 110.0, 240.0]))
        self.assertEqual(lines[0][3:5], ["110.0 (100.0-120.0)", ""])
        self.assertEqual(lines[2][3:5], ["60.0 (50.0-110.0)", "2.00 (1.00-2.00)"])
        self.assertEqual(lines[3][4], "1.00 (0.50-2.00)")
        self.assertEqual(lines[3][5:7], ["-", "-"])

    def test_a_failed_round_is_left_out(self):
        lines = self.lines(row("Octavo", "bf16", [100.0, 110.0]), row("peer", "bf16", [None, 220.0]))
        self.assertEqual(lines[1][3:5], ["220.0 (220.0-220.0)", "0.50 (0.50-0.50)"])


if __name__ == "__main__":
    unittest.main()
