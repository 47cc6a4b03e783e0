#!/usr/bin/env python3
"""Two models side by side: reads the JSON of `octavo generate` and `octavo score --summary` of each."""
import json
import sys
import textwrap

WIDTH = 56  # of a column


def load(path: str) -> dict:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def column(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.strip().splitlines():
        lines += textwrap.wrap(paragraph, WIDTH) or [""]
    return lines


def side_by_side(left: list[str], right: list[str]) -> None:
    for i in range(max(len(left), len(right))):
        a = left[i] if i < len(left) else ""
        b = right[i] if i < len(right) else ""
        print(f"  {a:<{WIDTH}}  | {b}".rstrip())


def main() -> None:
    """Arguments: QUESTION, then NAME GENERATE.json SCORE.json for each of the two models."""
    question, *rest = sys.argv[1:]
    models = [(name, load(answer), load(score)) for name, answer, score in zip(rest[0::3], rest[1::3], rest[2::3])]
    print(f'"{question}"\n')
    side_by_side([models[0][0]], [models[1][0]])
    side_by_side(["-" * WIDTH], ["-" * WIDTH])
    side_by_side(*[column(answer["completions"][0]["text"]) for _, answer, _ in models])
    print()
    side_by_side(*[[
        f"perplexity     {score['perplexity']:.3f} over {score['tokens']} tokens",
        f"resident       {answer['load']['resident_bytes'] / 1e6:.1f} MB of weights",
        f"decode         {answer['decode_tokens_per_second']:.1f} tok/s, {answer['decode_gb_per_second']:.1f} GB/s",
        f"prefill        {score['tokens_per_second']:.0f} tok/s (scoring)",
    ] for _, answer, score in models])


if __name__ == "__main__":
    main()
