#!/usr/bin/env python3
"""Writes the fuzzer's seeds for tokenizers into fuzz/corpus/tokenizer: small files of each kind, with a text behind 0xFF 0xFF."""
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "fuzz/corpus/tokenizer"
SPACE, A, B = "▁", "a", "b"


def bpe(**changes):
    return {"type": "BPE", "unk_token": "<unk>", "vocab": {"<unk>": 0, "<s>": 1, A: 2, B: 3, "ab": 4, SPACE: 5, SPACE + "ab": 6, "<0xC3>": 7, "<0xA9>": 8},
            "merges": ["a b", SPACE + " ab"], **changes}


def added(*contents, **flags):
    ids = {"<unk>": 0, "<s>": 1, "<x>": 9}
    return [{"id": ids[c], "content": c, "special": True, "normalized": False, **flags} for c in contents]


def template(*pieces):
    return {"type": "TemplateProcessing", "single": list(pieces), "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}


BOS, TEXT = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
SPM_DECODER = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
FILES = {
    "byte_level": {"model": bpe(vocab={"<unk>": 0, "a": 1, "Ġ": 2, "Ġa": 3, "Ã": 4, "©": 5}, merges=["Ġ a"]),
                   "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}, "decoder": {"type": "ByteLevel"}},
    "split": {"model": bpe(), "added_tokens": added("<s>", "<x>", lstrip=True, single_word=True), "decoder": {"type": "Metaspace", "replacement": SPACE},
              "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                  {"type": "Split", "pattern": {"Regex": r"(?i:'s|'t)|[^\r\n\p{L}&&[^\d]]?\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+"}, "behavior": "Isolated", "invert": False},
                  {"type": "Digits", "individual_digits": True}, {"type": "Punctuation"}, {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first"}]}},
    "spm": {"model": bpe(byte_fallback=True, fuse_unk=True), "added_tokens": added("<unk>", "<s>"), "post_processor": template(BOS, TEXT), "decoder": SPM_DECODER,
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, {"type": "Replace", "pattern": {"String": " "},
                                                                                                       "content": SPACE}]}},
    "forms": {"model": {"type": "WordLevel", "vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
              "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Nmt"},
                                                                 {"type": "Strip", "strip_left": True, "strip_right": True}]},
              "pre_tokenizer": {"type": "Whitespace"}},
    "unigram": {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], [SPACE, -2], ["a", -1.5], ["ab", -2.5], ["b", -1.25]]},
                "normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="}, "pre_tokenizer": {"type": "Metaspace", "replacement": SPACE},
                "decoder": {"type": "BPEDecoder", "suffix": "</w>"}},
    "affixed": {"model": bpe(vocab={"a": 0, "##b": 1, "ab": 2, "##b</w>": 3, "a</w>": 4, "<unk>": 5}, merges=[["a", "##b"]], continuing_subword_prefix="##",
                             end_of_word_suffix="</w>", ignore_merges=True),
                "post_processor": {"type": "BertProcessing", "sep": ["a", 0], "cls": ["ab", 2]}},
}


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def piece(text, kind, score):
    return field(1, field(1, text.encode()) + b"\x15" + score + bytes([3 << 3, kind]))


def sentence_piece(model_type):
    pieces = [piece("<unk>", 2, bytes(4)), piece("<s>", 3, bytes(4)), piece("<x>", 4, bytes(4))]
    pieces += [piece(t, 1, bytes([0, 0, n * 16, 0xC0])) for n, t in enumerate([SPACE, "a", "b", "ab", SPACE + "a"])]
    return b"".join(pieces) + piece("abb", 5, bytes(4)) + field(2, bytes([3 << 3, model_type])) + field(3, bytes([3 << 3, 1, 4 << 3, 1]))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    text = b"\xff\xff" + "ab <x> a'S 12  é e\u0301\n<s>abb".encode()
    for name, spec in FILES.items():
        (OUT / name).write_bytes(json.dumps(spec, ensure_ascii=False, separators=(",", ":")).encode() + text)
    for name, kind in (("sp_unigram", 1), ("sp_bpe", 2)):
        (OUT / name).write_bytes(sentence_piece(kind) + text)


if __name__ == "__main__":
    main()
