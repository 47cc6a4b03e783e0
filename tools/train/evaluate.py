"""Scores an exported folder with transformers: exact match on heldout.jsonl by kind, perplexity on held-out stories."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import arithmetic
import corpus


@torch.inference_mode()
def greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], batch: int) -> list[str]:
    """Greedy answers, prompts of similar length together, padded on the left."""
    tokenizer.padding_side = "left"
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        inputs = tokenizer([prompts[i] for i in chosen], return_tensors="pt", padding=True, add_special_tokens=False)
        made = model.generate(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, do_sample=False,
                              max_new_tokens=128)
        for i, row in zip(chosen, made[:, inputs.input_ids.shape[1] :]):
            answers[i] = tokenizer.decode(row, skip_special_tokens=True)
    return answers


@torch.inference_mode()
def story_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stories: list[str]) -> tuple[float, int]:
    """Mean loss in nats over the tokens of each story after an end-of-text token, and their number."""
    total, count = 0.0, 0
    for story in stories:
        ids = torch.tensor([tokenizer.encode(corpus.END_OF_TEXT + story)])
        logits = model(ids).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    return total / count, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the computation")
    parser.add_argument("--limit", type=int, default=None, help="problems")
    parser.add_argument("--batch", type=int, default=60)
    parser.add_argument("--show", type=int, default=0, help="how many wrong answers to print")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype)).eval()

    lines = (options.model / "heldout.jsonl").read_text(encoding="utf-8").splitlines()[: options.limit]
    problems = [json.loads(line) for line in lines]
    prompts = []
    for problem in problems:
        messages = [{"role": "user", "content": problem["question"]}]
        prompts.append(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        if prompts[-1] != corpus.render(messages, ask=True):
            raise SystemExit("the chat template and corpus.render disagree")
    right: Counter[str] = Counter()
    shown = 0
    for problem, answer in zip(problems, greedy(model, tokenizer, prompts, options.batch)):
        if arithmetic.extract_answer(answer) == int(problem["answer"]):
            right[problem["kind"]] += 1
        elif shown < options.show:
            shown += 1
            print(json.dumps({**problem, "got": answer}))
    seen = Counter(problem["kind"] for problem in problems)
    for kind in arithmetic.KINDS:
        print(f"{kind:16} {arithmetic.DIFFICULTY[kind]:7} {right[kind]:4} / {seen[kind]:4} "
              f"{100 * right[kind] / max(1, seen[kind]):5.1f} %")
    share = 100 * right.total() / seen.total()
    print(f"exact match      {options.dtype} {right.total()} / {seen.total()} {share:.1f} %")
    stories = (options.model / "stories.txt").read_text(encoding="utf-8").strip().split("\n\n")
    loss, tokens = story_loss(model, tokenizer, stories)
    print(f"stories          {len(stories)} texts, {tokens} tokens: loss {loss:.4f}, perplexity {math.exp(loss):.3f}")


if __name__ == "__main__":
    main()
