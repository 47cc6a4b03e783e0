#!/usr/bin/env python3
"""Makes word_problems.jsonl (gsm8k's form) and which_solution.jsonl (four choices) with the generator of tools/train.

usage: examples/lm_eval/make_data.py
"""
import json
import pathlib
import random
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools/train"))
import arithmetic  # noqa: E402

SEED, PROBLEMS = 7, 64


def wrong(solution: str, draw: random.Random) -> str:
    """The solution with one result of its last step changed, which is then the answer."""
    answer = int(re.search(r"#### (-?\d+)$", solution)[1])
    other = answer + draw.choice([-10, -2, -1, 1, 2, 10])
    return re.sub(rf"= {answer}\n#### {answer}$", f"= {other}\n#### {other}", solution)


def main():
    draw = random.Random(SEED)
    problems = arithmetic.held_out_problems(SEED, PROBLEMS)
    with open(HERE / "word_problems.jsonl", "w", encoding="utf-8") as out:
        for p in problems:
            out.write(json.dumps({"question": p.question, "answer": p.solution}) + "\n")
    with open(HERE / "which_solution.jsonl", "w", encoding="utf-8") as out:
        for p in problems:
            choices = {p.solution}
            while len(choices) < 4:
                choices.add(wrong(p.solution, draw))
            choices = sorted(choices)
            draw.shuffle(choices)
            out.write(json.dumps({"question": p.question, "choices": choices,
                                  "label": choices.index(p.solution)}) + "\n")


if __name__ == "__main__":
    main()
