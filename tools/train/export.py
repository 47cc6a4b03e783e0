"""Writes a training checkpoint as a Hugging Face folder in BF16, and the held-out problems and stories next to it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import GenerationConfig, Qwen3Config

import arithmetic
import corpus
from model import Shape

HELD_OUT_SEED = 7
PROBLEMS, STORIES = 800, 64
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def write_config(folder: Path, tokenizer: Tokenizer) -> None:
    s = Shape(vocab_size=tokenizer.get_vocab_size())
    end_of_text, im_end = tokenizer.token_to_id(corpus.END_OF_TEXT), tokenizer.token_to_id(corpus.IM_END)
    config = Qwen3Config(
        vocab_size=s.vocab_size, hidden_size=s.hidden_size, intermediate_size=s.intermediate_size,
        num_hidden_layers=s.num_hidden_layers, num_attention_heads=s.num_attention_heads,
        num_key_value_heads=s.num_key_value_heads, head_dim=s.head_dim,
        max_position_embeddings=s.max_position_embeddings, rms_norm_eps=s.rms_norm_eps, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": s.rope_theta}, dtype="bfloat16",
        bos_token_id=end_of_text, eos_token_id=im_end, pad_token_id=end_of_text, architectures=["Qwen3ForCausalLM"])
    # Transformers 5 keeps the base in rope_parameters, 4 at the top; a file with both is read by both.
    written = {**json.loads(config.to_json_string()), "rope_theta": s.rope_theta}
    (folder / "config.json").write_text(json.dumps(dict(sorted(written.items())), indent=2) + "\n", encoding="utf-8")
    GenerationConfig(bos_token_id=end_of_text, eos_token_id=[im_end, end_of_text], pad_token_id=end_of_text,
                     do_sample=False, max_new_tokens=256).save_pretrained(folder)


def write_held_out(folder: Path) -> None:
    with (folder / "heldout.jsonl").open("w", encoding="utf-8") as file:
        for p in arithmetic.held_out_problems(HELD_OUT_SEED, PROBLEMS):
            print(json.dumps({"question": p.question, "answer": str(p.answer), "kind": p.kind}), file=file)
    texts = [story.text for story in corpus.held_out_stories(HELD_OUT_SEED, STORIES)]
    (folder / "stories.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path, help="the folder that tokenizer.py wrote")
    parser.add_argument("run", type=Path, help="the folder that train.py wrote")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.tokenizer.resolve() != options.output.resolve():
        for name in TOKENIZER_FILES:
            shutil.copy(options.tokenizer / name, options.output)
    state = torch.load(options.run / "checkpoint.pt", weights_only=True)
    weights = {name: value.to(torch.bfloat16).contiguous() for name, value in state["model"].items()}
    save_file(weights, options.output / "model.safetensors", metadata={"format": "pt"})
    (options.output / "model.safetensors").chmod(0o644)
    write_config(options.output, Tokenizer.from_file(str(options.output / "tokenizer.json")))
    write_held_out(options.output)
    print(f"step {state['step']}, {sum(w.numel() for w in weights.values())} parameters")


if __name__ == "__main__":
    main()
