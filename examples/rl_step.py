#!/usr/bin/env python3
"""One step of reinforcement learning: the policy is a torch model in BF16, its rollouts come from Octavo in FP8.

    pip install . torch transformers && python examples/rl_step.py [models/abacus]

Word problems are sampled eight times each; right answers are made more likely (REINFORCE, the group's mean as baseline);
the new weights go to the engine as they lie in torch's memory. Printed before and after: how far the rollout's logprobs
are from the trainer's, which is what importance sampling has to correct (docs/rollout.md has the thresholds).
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM

from octavo import LLM, SamplingParams

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "models" / "abacus")
problems = [json.loads(line) for line in (folder / "heldout.jsonl").read_text().splitlines()][::50]
policy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
llm = LLM(folder, quantization="fp8_block", max_model_len=512)  # logprobs of the distribution sampled: temperature 1
sampling = SamplingParams(n=8, temperature=1.0, max_tokens=96, logprobs=0, seed=1)


def rollout():
    """(prompt + output ids, length of the prompt, the engine's logprobs, reward) of every sample; and their groups."""
    for group, (problem, request) in enumerate(zip(problems, llm.chat(
            [[{"role": "user", "content": p["question"]}] for p in problems], sampling))):
        for out in request.outputs:
            logprobs = [entry[token].logprob for entry, token in zip(out.logprobs, out.token_ids)]
            right = out.text.rsplit("####", 1)[-1].strip() == problem["answer"]
            yield group, request.prompt_token_ids + out.token_ids, len(request.prompt_token_ids), logprobs, float(right)


def trainer_logprobs(ids, start):
    logits = policy(torch.tensor([ids[:-1]])).logits[0, start - 1:].float()
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids[start:])[:, None])[:, 0]


def report(title, samples):
    with torch.no_grad():
        lr = torch.cat([trainer_logprobs(ids, start) - torch.tensor(logprobs) for _, ids, start, logprobs, _ in samples])
    ratio = lr.exp()
    print(f"{title}: weights {llm.weight_version}, {len(samples)} samples, {lr.numel()} tokens, "
          f"reward {sum(s[4] for s in samples) / len(samples):.3f}\n"
          f"  mean |dlogprob|       {lr.abs().mean():.5f}\n"
          f"  token_mult_prob_error {lr.abs().exp().mean():.5f}\n"  # NeMo-RL: mean of exp |lr|, at best 1
          f"  KL (k3)               {(ratio - 1 - lr).mean():.6f}\n"  # of the rollout from the trainer
          f"  ESS                   {ratio.sum() ** 2 / (ratio ** 2).sum() / lr.numel():.5f}")  # share of the tokens


samples = list(rollout())
report("before", samples)
optimizer = torch.optim.SGD(policy.parameters(), lr=0.5)
mean = [sum(s[4] for s in samples if s[0] == g) / sampling.n for g in range(len(problems))]
for group, ids, start, _, reward in samples:  # the gradient of every sample, one after the other
    if reward != mean[group]:
        (-(reward - mean[group]) * trainer_logprobs(ids, start).mean() / len(samples)).backward()
optimizer.step()

stale = list(rollout())  # what the old weights would give: the mismatch of an update that was forgotten
report("stale ", stale)
print("update:", llm.update_weights(policy.state_dict(), version="step-1"))
report("after ", list(rollout()))
