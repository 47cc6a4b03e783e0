#!/usr/bin/env python3
"""Writes tests/data/tokenizer/: what the tokenizers, transformers and sentencepiece libraries make of many texts.

  texts.json        the texts
  shared.json       their ids for every tokenizer in SHARED (which is not part of the repository)
  components.json   normalizers, pre-tokenizers, decoders one by one; whole tokenizers made of small models
  *.model, sentencepiece.json   small SentencePiece models, trained here, and their ids

needs: pip install tokenizers transformers sentencepiece
usage: tools/make_tokenizer_golden.py [SHARED]    (../shared/data; without it shared.json is left as it is)
"""
import collections
import io
import json
import math
import pathlib
import sys

import sentencepiece
import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/data/tokenizer"

TEXTS = [
    "", " ", "  ", "     ", "\n", "\n\n", "\n\n\n \n", "\t", " \t\n ", "\r\n", "\r", "a", " a", "a ", "  a  b   c    ",
    "Hello world", " Hello, world!", "Hello, y'all! How are you 😁 ?", "I'm, you're, we'll, they'd, IT'S, don'T, 'tis",
    "The quick brown fox jumps over the lazy dog.", "supercalifragilisticexpialidocious",
    "3 33 333 3333 33333 333333 3333333", "1,234,567.89 and 0x1F and 1e-9", "٠١٢٣ ½ ² Ⅷ ๓ १२३",
    "def f(x: int) -> str:\n    if x > 0:\n\treturn f\"{x!r}\"\n    return ''\n",
    "#include <vector>\nint main() { return std::vector<int>{1, 2}.size() != 2; }  // done\n",
    "{\"key\": [1, 2.5, null], \"nested\": {\"a\": \"b\\n\"}}", "<div class=\"x\">&nbsp;</div>",
    "https://example.org/a/b?c=d&e=%20f#g user@example.org", "SELECT * FROM t WHERE a <> 'b';", "$\\frac{a_1}{b^2}$ \\n \\t",
    "!!!!!! ??? ... --- *** ### @@@ ~~~ ``` ;;; ::: ,,,", "(a)[b]{c}<d>\"e\"'f'`g`", "“quoted” ‘single’ «guillemets» —dash–",
    "naïve café résumé", "nai\u0308ve cafe\u0301 re\u0301sume\u0301", "Å Å A\u030a", "ﬁ ﬂ ﬀ ſt ß ẞ", "① ㍿ ㌔ ™ ℃ ﷺ",
    "İstanbul ISPARTA ıİ", "Führer ÄÖÜ äöü", "Привет, мир! Ёлка", "Γειά σου Κόσμε ς", "שלום עולם", "مرحبا بالعالم",
    "العَرَبِيَّة", "नमस्ते दुनिया", "வணக்கம் உலகம்", "สวัสดีชาวโลก", "កាន់តែពិសេសអាចខលចេញ", "မင်္ဂလာပါ", "გამარჯობა", "Բարեւ",
    "你好，世界！我们今天学习。", "繁體中文與简体中文", "こんにちは世界。カタカナ ﾊﾝｶｸ", "안녕하세요 세계", "\u1112\u1161\u11ab\u1100\u1173\u11af", "한글",
    "Xin chào thế giới, Cửa Việt", "ሰላም ልዑል", "ᚠᚢᚦᚨᚱᚲ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛", "𐍈𐍉 𓀀𓁐 𠀀𠮷", "😀😃😄😁", "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇫🇷",
    "🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅", "a\u0301\u0316\u0323b\u0327\u0301", "\u0301 alone", "q\u0307\u0323 \u1e0b\u0323",
    "\u00a0no\u00a0break\u00a0", "\u2003em\u2003space\u3000wide", "line\u2028para\u2029next\u0085nel", "zero\u200bwidth\u200djoin\u200cnon\ufeffbom",
    "\u202eright to left\u202c", "soft\u00adhyphen", "\u180e\u1680", "\x00\x01\x02", "bell\x07 esc\x1b[0m del\x7f c1\x80\x9f", "\x0b\x0c\x1c\x1d",
    "\ue000\uf8ff private", "\U000f0000\U0010fffd", "\ufffd replacement \ufffe\uffff", "ⅷ Ⅻ ª º µ", "\u1e030 \U0001e030 \U00031350\U0001fae8",
    "<s>", "</s>", "<s>Hello</s>", " <s> Hello </s> ", "<unk> <pad>", "<|endoftext|>", "Hello<|endoftext|>world", "<|im_start|>user\nHi<|im_end|>\n",
    "<|im_start|> <|im_end|>", "[INST] Do it [/INST] Done </s>", "<tool_call>\n{\"name\": \"f\"}\n</tool_call>", "<think>\n\n</think>\n\n",
    "<|im_start", "|im_end|>", "<<s>>", "<fim_prefix>a<fim_suffix>b<fim_middle>", "<|start_of_role|>user<|end_of_role|>", "<0x41> <0x0A>",
    "▁a ▁▁b", "Ġa Ċ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababab", "                                  x",
    "x\n\n\n\n\n\n\n\n\ny", "CamelCaseAndsnake_case and kebab-case", "ALL CAPS TEXT, Mixed Case", "tab\tseparated\tvalues", "a.b.c...d", "50% off; 10€ £5 ¥7 ₿1",
    "ൻ ർ ൽ", "ཨོཾ་མ་ཎི", "Ｆｕｌｌｗｉｄｔｈ　１２３", "z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍a̗l̗g̗o̗", "O'Brien's 'quoted' can''t", "Mr. O'Neill's $1.50—really?!",
]


def save(name: str, value):
    # One line per outermost member, so that a change shows where it is.
    with open(OUT / name, "w", encoding="utf-8") as out:
        if isinstance(value, dict):
            lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False, separators=(',', ':'))}" for k, v in value.items()]
            out.write("{\n" + ",\n".join(lines) + "\n}\n")
        else:
            lines = [json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in value]
            out.write("[\n" + ",\n".join(lines) + "\n]\n")


# ---- tokenizers that the repository does not hold ----

def around(encode, texts):
    """The ids that special tokens put in front of and behind every text's own ids."""
    plain = [encode(t, False) for t in texts]
    full = [encode(t, True) for t in texts]
    extra = len(full[0]) - len(plain[0])
    for cut in range(extra + 1):
        prefix, suffix = full[0][:cut], full[0][len(full[0]) - (extra - cut):]
        if all(f == prefix + p + suffix for f, p in zip(full, plain)):
            return plain, prefix, suffix
    raise ValueError("special tokens do not stand around the text")


def shared_entry(path, encode, decode):
    ids, prefix, suffix = around(encode, TEXTS)
    # Most texts come back as they were: only the others are stored.
    entry = {"path": path, "prefix": prefix, "suffix": suffix, "ids": ids}
    for name, skip in (("keep", False), ("skip", True)):
        texts = [decode(prefix + i + suffix, skip) for i in ids]
        heads = collections.Counter(d[:len(d) - len(t)] for d, t in zip(texts, TEXTS) if d.endswith(t))
        head = heads.most_common(1)[0][0]
        entry[name] = {"head": head, "others": {str(n): d for n, (d, t) in enumerate(zip(texts, TEXTS)) if d != head + t}}
    return entry


def hugging_face(path, tokenizer):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return shared_entry(path, lambda t, special: tokenizer.encode(t, add_special_tokens=special).ids,
                        lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip))


def sentence_piece(path, processor):
    bos = [processor.bos_id()] if processor.bos_id() >= 0 else []
    return shared_entry(path, lambda t, special: (bos if special else []) + processor.encode(t),
                        lambda ids, skip: processor.decode(ids))


def make_shared(data: pathlib.Path):
    entries = {}
    for file in sorted([*data.glob("tokenizers/*/tokenizer.json"), *data.glob("models/*-bf16/tokenizer.json")]):
        path = str(file.parent.relative_to(data))
        entries[path] = hugging_face(path, Tokenizer.from_file(str(file)))
    for folder in sorted(data.glob("tokenizers/*")):
        if (folder / "merges.txt").exists() and not (folder / "tokenizer.json").exists():
            from transformers import AutoTokenizer
            path = str(folder.relative_to(data))
            entries[path] = hugging_face(path, AutoTokenizer.from_pretrained(folder)._tokenizer)
    for file in sorted(data.glob("tokenizers/mistral_spm/*.model*")):
        path = str(file.relative_to(data))
        entries[path] = sentence_piece(path, sentencepiece.SentencePieceProcessor(model_file=str(file)))
    save("shared.json", entries)


# ---- components ----

def to_json(component, slot):
    """A component as tokenizer.json writes it."""
    holder = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    setattr(holder, slot, component)
    return json.loads(holder.to_str())[slot]


NORMALIZERS = [
    normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(), normalizers.Nmt(),
    normalizers.Strip(True, True), normalizers.Strip(True, False), normalizers.Strip(False, True), normalizers.Prepend("▁"),
    normalizers.Replace(" ", "▁"), normalizers.Replace("aa", ""), normalizers.Replace(Regex(r"\s+"), " "),
    normalizers.Replace(Regex(r"(?i)hello|\d{2,}"), "<x>"), normalizers.ByteLevel(),
    normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]),
    normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
]
GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥\u3040-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
PRE_TOKENIZERS = [
    pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel(add_prefix_space=True),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    pre_tokenizers.Split(Regex(GPT4), "isolated"), pre_tokenizers.Split(Regex(O200K), "isolated"),
    pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r), "isolated") for r in DEEPSEEK]),
    *[pre_tokenizers.Split(Regex(r"\s+"), b) for b in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")],
    *[pre_tokenizers.Split(Regex(r"\w"), b, invert=True)
      for b in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")],
    pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.Split("...", "isolated"), pre_tokenizers.Split(Regex(r"x*"), "isolated"),
    pre_tokenizers.Split(Regex(r"\b"), "isolated"), pre_tokenizers.Split(Regex(r"^.|.$"), "isolated"),
    pre_tokenizers.Split(Regex(r"[\p{L}&&[^a-z]]+|[[:punct:]]{2,}|[a-z[0-9]]{,2}+"), "isolated"),
    pre_tokenizers.Split(Regex(r"(?<=[a-z])(?=[A-Z])|\p{Han}|\h+\H"), "isolated"), pre_tokenizers.Split(Regex(r"(?m:a.b)|a(?i)b|c"), "isolated"),
    pre_tokenizers.Metaspace(), pre_tokenizers.Metaspace(prepend_scheme="never"), pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
    pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Punctuation(),
    pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(),
    pre_tokenizers.CharDelimiterSplit("a"), pre_tokenizers.BertPreTokenizer(),
    pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="first")]),
    pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
]
# Their tables are older than Unicode 12: texts with newer punctuation or marks would differ.

SPM_DECODER = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
DECODERS = [
    decoders.ByteLevel(), decoders.Metaspace(), decoders.Metaspace(prepend_scheme="never"), decoders.WordPiece(), decoders.WordPiece("##", False),
    decoders.BPEDecoder(), decoders.Fuse(), decoders.ByteFallback(), decoders.Strip("a", 1, 1), decoders.Strip(" ", 2, 0),
    decoders.Replace("▁", " "), decoders.Replace(Regex(r"a+"), "b"), decoders.Replace("ab", "c"), decoders.Sequence(SPM_DECODER),
    decoders.Sequence([decoders.Fuse(), decoders.Strip("▁", 1, 2)]), decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "c")]),
    decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]), decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 1)]),
]
TOKENS = [
    [], ["a"], ["▁Hello", "▁world", "!"], ["Hello", "Ġworld", "ĊĊ"], ["▁", "▁", "a"], ["▁▁a", "b▁"], ["ðŁĺ", "Ģ", "x"], ["ðŁĺ", "x"], ["Ġ", "é", "<s>"],
    ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"], ["a", "<0xE4>", "<0xBD>", "<0xA0>", "<0xE5>", "b"], ["<0xFF>", "<0x41>"], ["<0x41>", "<0x0a>"], ["<0xGG>", "<0x1>"],
    ["low", "##er", "##est", ".", "do", "not", "n't"], ["lo", "w</w>", "er</w>"], ["aab", "ab", "a", "baa"], ["  a", " ", "b  "], ["", "a", ""],
    ["你", "好", "▁世界"], ["Ä", "Hello Ġ", "Ń"], ["▁ab", "aabb", "a▁▁"], ["aaa"], ["▁"], [" "], ["▁x▁▁▁"], ["<0xC3>", "<0xA9>", "▁"],
]


def decoded(decoder, tokens):
    """What the decoder makes of the tokens; None where the library panics (Strip on tokens shorter than it wants)."""
    try:
        return decoder.decode(tokens)
    except BaseException as error:  # noqa: B902, pyo3's PanicException is no Exception
        if type(error).__name__ != "PanicException":
            raise
        return None


def train_bpe(words, alphabet, specials, merges, prefix="", suffix=""):
    """A BPE model. The library's trainer breaks ties by hash order; this one gives the same model every time."""
    counts = collections.Counter(words)
    split = {w: [(prefix if i else "") + c + (suffix if i == len(w) - 1 else "") for i, c in enumerate(w)] for w in counts}
    symbols = sorted({s for parts in split.values() for s in parts if s.strip("#</w>") in alphabet or s in alphabet})
    vocab = {t: i for i, t in enumerate([*specials, *sorted({*symbols, *alphabet})])}
    rules = []
    while len(rules) < merges:
        pairs = collections.Counter()
        for word, parts in split.items():
            for pair in zip(parts, parts[1:]):
                if pair[0] in vocab and pair[1] in vocab:
                    pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        joined = best[0] + best[1][len(prefix):]
        rules.append(list(best))
        vocab.setdefault(joined, len(vocab))
        for parts in split.values():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = [joined]
                i += 1
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>" if "<unk>" in specials else None, "continuing_subword_prefix": prefix or None,
            "end_of_word_suffix": suffix or None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": rules}


def pieces_of(pre_tokenizer):
    return [piece for text in TEXTS for piece, _ in pre_tokenizer.pre_tokenize_str(text)]


def most_common(items, count):
    return sorted(sorted(set(items)), key=lambda c: -collections.Counter(items)[c])[:count]


def trained_models():
    """Small models by name, as JSON."""
    out = {}
    specials = ["<unk>", "<s>", "</s>"]
    out["byte_level"] = train_bpe(pieces_of(pre_tokenizers.ByteLevel(add_prefix_space=False)), pre_tokenizers.ByteLevel.alphabet(),
                                  ["<|endoftext|>", "<s>", "</s>"], 160)
    words = pieces_of(pre_tokenizers.Metaspace())
    letters = set(most_common("".join(words), 80))
    model = out["unknown"] = train_bpe(words, letters, specials, 200)
    # The same with a token for every byte, and for some.
    size = len(model["vocab"])
    out["byte_fallback"] = {**model, "byte_fallback": True, "fuse_unk": True,
                            "vocab": {**model["vocab"], **{f"<0x{b:02X}>": size + b for b in range(256)}}}
    out["some_bytes"] = {**model, "byte_fallback": True, "fuse_unk": False,
                         "vocab": {**model["vocab"], **{f"<0x{b:02X}>": size + b for b in range(0xC8)}}}
    out["affixed"] = train_bpe(pieces_of(pre_tokenizers.WhitespaceSplit()), letters, ["<unk>"], 120, "##", "</w>")
    parts = collections.Counter(w[i:j] for w in words for i in range(len(w)) for j in range(i + 1, min(len(w), i + 6) + 1))
    kept = sorted((p for p, n in parts.items() if p not in specials and (n > 2 if len(p) > 1 else p in letters)), key=lambda p: (-parts[p] * len(p), p))[:400]
    total = sum(parts[p] for p in kept)
    scores = [[p, round(math.log(parts[p] / total), 4)] for p in kept]
    out["unigram"] = {"type": "Unigram", "unk_id": 0, "vocab": [[s, 0.0] for s in specials] + scores, "byte_fallback": False}
    out["unigram_bytes"] = {**out["unigram"], "byte_fallback": True, "vocab": out["unigram"]["vocab"] + [[f"<0x{b:02X}>", 0.0] for b in range(256)]}
    common = most_common(pieces_of(pre_tokenizers.Whitespace()), 80)
    out["words"] = {"type": "WordLevel", "unk_token": "<unk>", "vocab": {w: i for i, w in enumerate(["<unk>", "<s>", *common])}}
    return out


def added(vocab, *tokens):
    """added_tokens of (content, flags): with the model's id, or the next behind it."""
    out, free = [], len(vocab)
    for content, flags in tokens:
        out.append({"id": vocab.get(content, free), "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                    "special": False, **dict.fromkeys(flags.split(), True)})
        free += content not in vocab
    return out


def template(single, *specials):
    return json.loads(json.dumps({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}} if s == "A" else
                                                                           {"SpecialToken": {"id": s, "type_id": 0}} for s in single],
                                  "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                                  "special_tokens": {t: {"id": t, "ids": ids, "tokens": [t] * len(ids)} for t, ids in specials}}))


def whole_tokenizers(trained):
    """name -> (model's name, what differs from a tokenizer of that model alone)."""
    byte_level = {"pre_tokenizer": to_json(pre_tokenizers.ByteLevel(add_prefix_space=False), "pre_tokenizer"), "decoder": to_json(decoders.ByteLevel(), "decoder")}
    spm = {"normalizer": to_json(NORMALIZERS[-1], "normalizer"), "decoder": to_json(decoders.Sequence(SPM_DECODER), "decoder")}
    metaspace = {"pre_tokenizer": to_json(pre_tokenizers.Metaspace(), "pre_tokenizer"), "decoder": to_json(decoders.Metaspace(), "decoder")}
    first = {**metaspace, "pre_tokenizer": to_json(pre_tokenizers.Metaspace(prepend_scheme="first", split=False), "pre_tokenizer")}
    vocab = trained["byte_level"]["vocab"]
    marks = [("<|endoftext|>", "special"), ("<s>", "special"), ("</s>", "special")]
    flags = added(vocab, *marks, ("Hello", "single_word"), ("<x>", "lstrip"), ("<y>", "rstrip"), ("<z>", "lstrip rstrip special"), ("café", "normalized"),
                  ("<|im_start|>", "special"), ("  ", "normalized"), ("<|im", ""), ("world", "normalized single_word"),
                  ("▁", "single_word"), ("\n", "lstrip rstrip"), ("12", "rstrip"))
    marks = added(vocab, *marks)
    vocab = trained["byte_fallback"]["vocab"]
    return {
        "byte level": ("byte_level", byte_level),
        "special tokens": ("byte_level", {**byte_level, "added_tokens": marks, "post_processor": template(["<s>", "A", "</s>"], ("<s>", [1]), ("</s>", [2, 2]))}),
        "flags of added tokens": ("byte_level", {**byte_level, "added_tokens": flags}),
        "flags, normalized": ("byte_level", {**byte_level, "added_tokens": flags, "normalizer": to_json(normalizers.Sequence([normalizers.NFD(),
                              normalizers.StripAccents(), normalizers.Lowercase()]), "normalizer")}),
        "byte-level normalizer": ("byte_level", {"added_tokens": flags, "normalizer": to_json(normalizers.ByteLevel(), "normalizer"),
                                                 "decoder": to_json(decoders.ByteLevel(), "decoder")}),
        "roberta": ("byte_level", {**byte_level, "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True,
                                                                    "add_prefix_space": False}}),
        "bert": ("byte_level", {**byte_level, "post_processor": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}}),
        "sequence of processors": ("byte_level", {**byte_level, "post_processor": {"type": "Sequence", "processors": [
            to_json(processors.ByteLevel(), "post_processor"), template(["<s>", "A"], ("<s>", [1]))]}}),
        "ignore merges": ("byte_level", {**byte_level, "model": {"ignore_merges": True}}),
        "spm": ("byte_fallback", {**spm, "added_tokens": added(vocab, ("<unk>", "special"), ("<s>", "special"), ("</s>", "special")),
                                  "post_processor": template(["<s>", "A"], ("<s>", [1]))}),
        "spm, normalized tokens": ("byte_fallback", {**spm, "added_tokens": added(vocab, ("<s>", "special normalized"), ("[INST]", "normalized"))}),
        "metaspace first": ("byte_fallback", {**first, "added_tokens": added(vocab, ("<s>", "special"), ("[INST]", "special"))}),
        "metaspace first, stripped": ("byte_fallback", {**first, "normalizer": to_json(normalizers.Strip(True, True), "normalizer")}),
        "some bytes": ("some_bytes", spm),
        "unknown, single": ("unknown", metaspace),
        "unknown, fused": ("unknown", {**metaspace, "model": {"fuse_unk": True}}),
        "unknown, dropped": ("unknown", {**metaspace, "model": {"unk_token": None}}),
        "affixed": ("affixed", {"pre_tokenizer": to_json(pre_tokenizers.WhitespaceSplit(), "pre_tokenizer"), "decoder": to_json(decoders.BPEDecoder(), "decoder")}),
        "unigram": ("unigram", metaspace),
        "unigram, bytes": ("unigram_bytes", {**metaspace, "added_tokens": added({"<s>": 1}, ("<s>", "special"))}),
        "words": ("words", {"pre_tokenizer": to_json(pre_tokenizers.Whitespace(), "pre_tokenizer"), "added_tokens": added({"<s>": 1}, ("<s>", "special"))}),
    }


FLAG_TEXTS = ["Hello", "Hellos Hello, Hello_ _Hello Helloé", "a <x> b", "a   <y>   b<y>", "a \n <z> \t b <z>", "<x><y><z>", " <x>", "<y> ", "<|im_start|><|im_start", "café CAFÉ cafe\u0301",
              "a  b   c", "world worlds world.", "<s> [INST] Hi [/INST]", "[INST]a[INST] b", "  <s>a  <s> b", "x<s>", "<z>Hello<z>", "a\n\n\nb \n \n", "▁▁ a▁b", "12 \n12  12"]


def whole(name, model_name, trained, changes):
    spec = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None,
            "decoder": None, **changes}
    spec["model"] = {**trained[model_name], **changes.get("model", {})}
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    special = {token["id"] for token in spec["added_tokens"] if token["special"]}
    texts = FLAG_TEXTS + TEXTS[12::4]
    rows = []
    for text in texts:
        plain, full = tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.encode(text).ids
        # The library does not skip a special token whose normalized form is another (0.23 asks for the form): take them out before.
        keep = tokenizer.decode(full, skip_special_tokens=False)
        skip = tokenizer.decode([i for i in full if i not in special], skip_special_tokens=False)
        # None: as the one before it.
        rows.append([text, plain, None if full == plain else full, None if keep == text else keep, None if skip == keep else skip])
    return {"name": name, "model": model_name, "changes": changes, "rows": rows}


def make_components():
    some = TEXTS[14:32] + TEXTS[32::5] + ["Hello2World42 cAb CAB aXb a\nb", "12 deadBEEF 0xfg", "hello HELLO 123 1"]
    out = {
        "normalizers": [[to_json(n, "normalizer"), [[t, n.normalize_str(t)] for t in TEXTS if n.normalize_str(t) != t]] for n in NORMALIZERS],
        "split_texts": some,
        "pre_tokenizers": [[to_json(p, "pre_tokenizer"), [[s for s, _ in p.pre_tokenize_str(t)] for t in some]] for p in PRE_TOKENIZERS],
        "decoders": [[to_json(d, "decoder"), [[t, decoded(d, t)] for t in TOKENS if t and decoded(d, t) is not None]] for d in DECODERS],
    }
    trained = trained_models()
    out["models"] = trained
    for name, (model_name, changes) in whole_tokenizers(trained).items():
        out[f"tokenizer {name}"] = whole(name, model_name, trained, changes)
    save("components.json", out)


# ---- SentencePiece ----

SENTENCE_PIECE = {
    "bpe_bytes": dict(model_type="bpe", vocab_size=460, byte_fallback=True, remove_extra_whitespaces=False, normalization_rule_name="identity",
                      user_defined_symbols=["<|im_start|>", "  "], character_coverage=0.99),
    "bpe_plain": dict(model_type="bpe", vocab_size=300, character_coverage=0.98, control_symbols=["<ctl>"], normalization_rule_name="identity"),
    "unigram_rules": dict(model_type="unigram", vocab_size=320, character_coverage=0.99, user_defined_symbols=["fox", "<sep>"], bos_id=-1),
    "unigram_suffix": dict(model_type="unigram", vocab_size=500, byte_fallback=True, character_coverage=0.99, treat_whitespace_as_suffix=True,
                           normalization_rule_name="identity", bos_id=1, eos_id=2, unk_id=0, pad_id=3),
    "bpe_no_prefix": dict(model_type="bpe", vocab_size=300, character_coverage=0.98, add_dummy_prefix=False, remove_extra_whitespaces=False,
                          normalization_rule_name="identity", unk_surface=" ?? "),
}
# A few rules of our own instead of the 240 kB of nmt_nfkc.
RULES = "41\t61\n42\t62\nFB01\t66 69\n65 301\tE9\n9\t20\n3000\t20\nAD\t\n2026\t2E 2E 2E\n"


def make_sentencepiece():
    # European texts alone, so that the others hold unknown characters.
    corpus = [t.replace("\n", " ") for t in TEXTS if t.strip() and all(" " <= c < "\u0250" for c in t.replace("\n", " "))] * 4
    rules = OUT / "rules.tsv"
    entries = {}
    for name, options in SENTENCE_PIECE.items():
        if "normalization_rule_name" not in options:
            rules.write_text(RULES, encoding="utf-8")
            options = {**options, "normalization_rule_tsv": str(rules)}
        blob = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=blob, num_threads=1, hard_vocab_limit=False, minloglevel=2,
                                                 max_sentence_length=100000, **options)
        rules.unlink(missing_ok=True)
        (OUT / f"{name}.model").write_bytes(blob.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=blob.getvalue())
        texts = FLAG_TEXTS + TEXTS[::2] + ["fox<sep>foxes  fox", "ABﬁ e\u0301\u3000\u00ad…", "<ctl>a<ctl>"]
        rows = [[t, processor.encode(t), processor.decode(processor.encode(t))] for t in texts]
        size = processor.get_piece_size()
        ids = [[(k * 37 + j * j * 11) % size for j in range(k % 9)] for k in range(60)]
        entries[name] = {"bos": processor.bos_id(), "eos": processor.eos_id(), "rows": rows, "decoded": [[i, processor.decode(i)] for i in ids]}
    save("sentencepiece.json", entries)


def main():
    data = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared/data"
    OUT.mkdir(parents=True, exist_ok=True)
    save("texts.json", TEXTS)
    make_components()
    make_sentencepiece()
    if data.is_dir():
        make_shared(data)
    else:
        print(f"{data} is absent: shared.json is left as it is", file=sys.stderr)
    print(f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}", file=sys.stderr)


if __name__ == "__main__":
    main()
