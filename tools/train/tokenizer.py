"""Trains the byte-level BPE tokenizer on documents of the training stream and writes it as transformers loads it."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import corpus

VOCABULARY = 2048
# Qwen's pattern: words with the space before them, every digit on its own (so that arithmetic is learnable).
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")


def train(seed: int, documents: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(corpus.SPECIAL_TOKENS), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    specials = re.compile("|".join(map(re.escape, corpus.SPECIAL_TOKENS)))
    texts = (specials.sub("", corpus.document(seed, index)) for index in range(documents))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--documents", type=int, default=20000)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    tokenizer = train(options.seed, options.documents)
    tokenizer.save(str(options.output / "tokenizer.json"))
    config = {
        "add_prefix_space": False, "bos_token": None, "clean_up_tokenization_spaces": False,
        "eos_token": corpus.IM_END, "pad_token": corpus.END_OF_TEXT, "unk_token": None, "model_max_length": 1024,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (options.output / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    shutil.copy(corpus.CHAT_TEMPLATE, options.output)
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
