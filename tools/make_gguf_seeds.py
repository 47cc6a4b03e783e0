#!/usr/bin/env python3
"""Makes the seeds of the GGUF fuzz target, fuzz/corpus/gguf/*: tiny but whole models, each under 4 KB. Needs:
pip install numpy gguf. Run from the repository's root:

    python3 tools/make_gguf_seeds.py
"""

import argparse
import pathlib

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

HIDDEN, HEADS, HEAD_DIM, VOCAB = 4, 1, 4, 8


def model(path, arch, *, tokenizer, untied=False, wide=None):
    """A model of one layer. `wide`: a quantized type for the matrices of 32 columns, with random blocks."""
    rng = np.random.default_rng(1)
    writer = GGUFWriter(path, arch)
    hidden = 32 if wide else HIDDEN
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    if tokenizer == "gpt2":
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm" if arch == "llama" else "qwen2")
        writer.add_token_list(["<e>", "a", "b", "ab", "Ġ", "[PAD5]"])
        writer.add_token_types([3, 1, 1, 1, 1, 5])
        writer.add_token_merges(["a b"])
    elif tokenizer == "llama":
        writer.add_tokenizer_model("llama")
        writer.add_token_list(["<unk>", "<s>", "<0x41>", "▁", "a", "▁a"])
        writer.add_token_types([2, 3, 6, 1, 1, 1])
        writer.add_token_scores([0.0, 0.0, 0.0, -3.0, -2.0, -1.0])
    writer.add_bos_token_id(1)
    writer.add_chat_template("{{ messages }}")

    def add(name, *shape):
        if wide and len(shape) == 2 and shape[1] == hidden:
            size = {"Q4_0": 18, "Q8_0": 34}[wide]
            blocks = rng.integers(0, 60, (shape[0], size), dtype=np.uint8)
            writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType[wide])
        else:
            writer.add_tensor(name, rng.standard_normal(shape).astype(np.float32))

    q = HEADS * HEAD_DIM
    add("token_embd.weight", VOCAB, hidden)
    add("output_norm.weight", hidden)
    if untied:
        add("output.weight", VOCAB, hidden)
    for norm in ("attn_norm", "ffn_norm"):
        add(f"blk.0.{norm}.weight", hidden)
    for name, rows in (("attn_q", q), ("attn_k", q), ("attn_v", q), ("ffn_gate", HIDDEN), ("ffn_up", HIDDEN)):
        add(f"blk.0.{name}.weight", rows, hidden)
    add("blk.0.attn_output.weight", hidden, q)
    add("blk.0.ffn_down.weight", hidden, HIDDEN)
    if arch == "qwen2":
        for name in ("attn_q", "attn_k", "attn_v"):
            add(f"blk.0.{name}.bias", q)
    if arch == "qwen3":
        for name in ("attn_q_norm", "attn_k_norm"):
            add(f"blk.0.{name}.weight", HEAD_DIM)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="fuzz/corpus/gguf", type=pathlib.Path)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    model(args.output / "llama.gguf", "llama", tokenizer="llama")
    model(args.output / "smollm.gguf", "llama", tokenizer="gpt2", untied=True)
    model(args.output / "qwen2.gguf", "qwen2", tokenizer="gpt2")
    model(args.output / "qwen3.gguf", "qwen3", tokenizer="none")
    model(args.output / "q4_0.gguf", "llama", tokenizer="none", wide="Q4_0")
    model(args.output / "q8_0.gguf", "qwen3", tokenizer="none", wide="Q8_0")
    two = bytearray((args.output / "qwen3.gguf").read_bytes())
    two[4] = 2  # version 2 has the same layout
    (args.output / "version2.gguf").write_bytes(two)
    for path in sorted(args.output.iterdir()):
        assert path.stat().st_size < 4096, f"{path} has {path.stat().st_size} bytes"
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
