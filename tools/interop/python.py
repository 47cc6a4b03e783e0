#!/usr/bin/env python3
"""The Python package with torch: BF16 tensors in and out without copies, the update of a torch model, examples/rl_step.py.

    tools/interop/python.py SOURCE      in an environment with octavo (pip install .), torch and transformers
"""
import gc
import os
import pathlib
import re
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM

import octavo
from octavo import LLM, SamplingParams
from octavo.arrays import view

SOURCE = pathlib.Path(sys.argv[1])
ABACUS = SOURCE / "models" / "abacus"
OPTIONS = dict(max_model_len=256, max_num_seqs=8, kv_memory=64 << 20)


def check(condition, what):
    if not condition:
        sys.exit(f"interop: python: {what}")


def refused(error, part, call):
    try:
        call()
    except error as caught:
        check(part in str(caught), f"{caught!r} does not say {part!r}")
    else:
        check(False, f"not refused: {part}")


def tensors():
    """Views: the memory is torch's, and what torch cannot say is refused in a sentence."""
    for dtype, name in ((torch.bfloat16, "BF16"), (torch.float16, "F16"), (torch.float32, "F32"),
                        (torch.float8_e4m3fn, "F8_E4M3"), (torch.float8_e5m2, "F8_E5M2")):
        tensor = torch.randn(64, 48).to(dtype)
        seen = view(tensor)
        check((seen.data_ptr, seen.dtype, seen.shape) == (tensor.data_ptr(), name, (64, 48)), f"view of {dtype}")
    part = torch.randn(64, 48).bfloat16()[16:32]
    check(view(part).data_ptr == part.data_ptr(), "view of a slice")
    parameter = torch.nn.Parameter(torch.randn(4, 4))
    check(view(parameter).data_ptr == parameter.data_ptr(), "view of a parameter")
    refused(ValueError, "give tensor.contiguous()", lambda: octavo.encode(torch.randn(64, 48).bfloat16().T))


def encode():
    """codes and scales against torch's own arithmetic, in torch's memory format without a copy."""
    weight = (torch.randn(256, 384, generator=torch.Generator().manual_seed(3)) * 0.02).bfloat16()
    codes, scales = octavo.encode(weight, "block", format="fp8")
    blocks = weight.float().view(2, 128, 3, 128).abs().amax(dim=(1, 3)) / 448
    wide = blocks.repeat_interleave(128, 0).repeat_interleave(128, 1)
    wanted = (weight.float() / wide).to(torch.float8_e4m3fn)
    got, scale = torch.from_dlpack(codes), torch.from_dlpack(scales)
    check(got.data_ptr() == codes.data_ptr and scale.data_ptr() == scales.data_ptr, "from_dlpack copies")
    check(torch.equal(scale, blocks), "scales of blocks")
    check(torch.equal(got.view(torch.float8_e4m3fn).float(), wanted.float()), "codes of blocks")
    codes, scales = octavo.encode(weight, "dynamic")
    check(torch.from_dlpack(scales).dtype == torch.bfloat16, "BF16 scales")
    kept = torch.from_dlpack(octavo.encode(weight, "dynamic")[0])
    gc.collect()
    check(torch.equal(kept, torch.from_dlpack(codes)), "memory is gone with its owner")


def update():
    """A torch model's new weights: the engine's logprobs are then those of a fresh process; memory does not grow."""
    policy = AutoModelForCausalLM.from_pretrained(ABACUS, dtype=torch.bfloat16)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1 + 0.05 * torch.randn(()))
    greedy = SamplingParams(temperature=0, max_tokens=16, logprobs=0, ignore_eos=True)

    def logprobs(llm):
        output = llm.generate("Once upon a time", greedy)[0].outputs[0]
        return [(t, e[t].logprob) for t, e in zip(output.token_ids, output.logprobs)]

    for quantization in ("fp8_block", "fp8_channel", "fp8", None):
        with LLM(ABACUS, quantization=quantization, **OPTIONS) as llm:
            before = logprobs(llm)
            llm.update_weights(policy.state_dict(), version="one")  # lm_head, tied, is among them
            first = logprobs(llm)
            check(first != before, f"{quantization}: an update without effect")
            llm.update_weights(AutoModelForCausalLM.from_pretrained(ABACUS, dtype=torch.bfloat16).named_parameters())
            check(logprobs(llm) == before, f"{quantization}: the old weights do not give the old logprobs")
            llm.update_weights(((n, p) for n, p in policy.named_parameters()), version="three")
            check((logprobs(llm), llm.weight_version) == (first, "three"), f"{quantization}: parameters and state_dict differ")
    with torch.no_grad():
        reference = policy.float()(torch.tensor([[p for p, _ in first]])).logits  # runs: the weights are sane
    check(bool(torch.isfinite(reference).all()), "logits")


def example():
    """rl_step: the mismatch is small, larger where the engine has old weights, and small again after the update."""
    run = subprocess.run([sys.executable, SOURCE / "examples" / "rl_step.py"], capture_output=True, text=True,
                         env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False)
    check(run.returncode == 0, f"rl_step failed: {run.stderr[-2000:]}")
    print(run.stdout, end="")
    figures = {}
    for title in ("before", "stale", "after"):
        part = run.stdout[run.stdout.index(f"{title}"):]
        figures[title] = [float(re.search(name + r"\s+([0-9.]+)", part)[1])
                          for name in (r"mean \|dlogprob\|", "token_mult_prob_error", r"KL \(k3\)", "ESS")]
        versions = re.search(r"weights (\S+),", part)[1]
        check(versions == ("step-1" if title == "after" else "default"), f"{title}: weights {versions}")
    for title in ("before", "after"):
        distance, error, kl, ess = figures[title]
        # 1.05 is where NeMo-RL draws a plot; a broken update is far beyond.
        check(0 < distance < 0.05 and 1 < error < 1.05 and kl < 0.01 and ess > 0.95, f"{title}: {figures[title]}")
    check(figures["stale"][0] > 1.5 * figures["after"][0], f"an old version is not seen: {figures}")


for part in (tensors, encode, update, example):
    part()
    print(f"python: {part.__name__} ok")
