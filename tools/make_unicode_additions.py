#!/usr/bin/env python3
"""Writes octavo/text/unicode_additions.inc: general categories of code points newer than Unicode 14.

PCRE2 10.42 (Debian 12) knows Unicode 14, the tokenizers library's Oniguruma knows Unicode 16. So that ids depend on
neither PCRE2's version nor the distribution's, patterns get the difference as ranges (octavo/text/onig_syntax.cc).

needs: pip install tokenizers; Python 3.11, whose unicodedata is Unicode 14
usage: tools/make_unicode_additions.py > octavo/text/unicode_additions.inc
"""
import sys
import unicodedata

from tokenizers import Regex, pre_tokenizers

CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
              "Sm", "Sc", "Sk", "So", "Zs"]
CHUNK = 4096


def members(pattern: str, candidates: list[int]):
    """The candidates that `pattern` matches in the tokenizers library."""
    splitter = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    for start in range(0, len(candidates), CHUNK):
        chunk = candidates[start:start + CHUNK]
        for _, (begin, end) in splitter.pre_tokenize_str("".join(map(chr, chunk))):
            yield from chunk[begin:end]


def main():
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"this Python's unicodedata is {unicodedata.unidata_version}, not 14.0.0")
    new = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) == "Cn"]
    category = {c: name for name in CATEGORIES for c in members(rf"\p{{{name}}}", new)}
    ranges = []  # first, last, category
    for c in sorted(category):
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == category[c]:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, category[c]])
    print("// Written by tools/make_unicode_additions.py: do not edit.")
    line = ""
    for first, last, name in ranges:
        entry = f"{{0x{first:X}, 0x{last:X}, \"{name}\"}},"
        if len(line) + len(entry) > 118:
            print(line)
            line = ""
        line += (" " if line else "") + entry
    print(line)


if __name__ == "__main__":
    main()
