"""Trains models/abacus on one core: seeded, logged, checkpointed; a resumed run continues the exact stream."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer

from corpus import Rows
from model import Qwen3, Shape

TOKENS_PER_STEP = 8192
SHORT, LONG, LONG_EVERY = 256, 1024, 8  # Every eighth step has rows as long as the model's context.
WARMUP_STEPS = 150
DECAY_SHARE = 0.4  # The last part of the run, in which the learning rate falls to zero in a straight line.


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm up, hold, decay. While it holds, a resumed run may still change the number of steps."""
    decay = max(1, int(steps * DECAY_SHARE))
    return peak * min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / decay)


def optimizer_for(model: Qwen3, peak: float) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), eps=1e-9, fused=True)


def save(path: Path, state: dict[str, object]) -> None:
    """Written whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path, help="the folder that tokenizer.py wrote")
    parser.add_argument("run", type=Path, help="a folder for checkpoint and log.jsonl; continued if it has one")
    parser.add_argument("--steps", type=int, default=2300)
    parser.add_argument("--peak", type=float, default=2e-3, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--until", type=int, help="stop, with a checkpoint, after this step")
    parser.add_argument("--checkpoint-every", type=int, default=250, help="steps")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.run.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(options.tokenizer / "tokenizer.json"))
    rows = Rows(lambda text: tokenizer.encode(text).ids, options.seed)
    model = Qwen3(Shape(vocab_size=tokenizer.get_vocab_size()))
    optimizer = optimizer_for(model, options.peak)
    step, seconds = 0, 0.0
    last = min(options.steps, options.until or options.steps)
    checkpoint = options.run / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds, rows.index = state["step"], state["seconds"], state["document"]

    forward = torch.compile(model, dynamic=False)
    losses: list[float] = []
    started = time.monotonic() - seconds
    with (options.run / "log.jsonl").open("a", encoding="utf-8") as log:
        while step < last:
            length = LONG if step % LONG_EVERY == LONG_EVERY - 1 else SHORT
            batch = torch.tensor([rows.next(length) for _ in range(TOKENS_PER_STEP // length)])
            rate = learning_rate(step, options.steps, options.peak)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16):
                loss = forward(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            losses.append(loss.item())
            if step % 25 == 0:
                entry = {"step": step, "tokens": step * TOKENS_PER_STEP, "loss": round(sum(losses) / len(losses), 4),
                         "learning_rate": round(rate, 6), "seconds": round(time.monotonic() - started)}
                print(json.dumps(entry), file=log, flush=True)
                losses.clear()
            if step % options.checkpoint_every == 0 or step == last:
                save(checkpoint, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
                                  "seconds": time.monotonic() - started, "document": rows.index})


if __name__ == "__main__":
    main()
