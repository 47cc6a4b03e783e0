#!/usr/bin/env python3
"""Makes tests/data/models: tiny random checkpoints of every family and feature, and what transformers says of them.

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
    python3 tools/make_golden.py [NAME ...]          from the repository's root; without names all of them

Each folder is a model as a user has it (golden/cases.py; folders that share weights link to one file, as the hub's
cache does) with a golden.json:

    sequences   token ids; half of the tokens are drawn from the model, half at random
    runs        one for plain models; "w8a16" and, where the scheme rounds activations, "w8a8" for FP8 (golden/fp8.py)
      logprobs          of every token after the first, given those before it; FP32
      top               the five most likely next tokens of every position, [id, logprob]; FP32
      bf16_deviation    a sequence's largest difference, over these two, of transformers' BF16 run from its FP32 run
      bf16_deviations   the same for every position
      nearer            (w8a8) mean difference of the sequence's logprobs from w8a16's

FP32 and BF16 are dtype= of from_pretrained with eager attention. Rounding to FP8 is a step: a value that lies next to
the boundary of two codes falls on one side or the other by the order of a sum, and one flipped code moves logprobs by
tenths (with random tokens, one sequence of 40 in six has such a flip when the order of the sums is changed). So the
tokens of FP8 sequences are chosen: a token is taken only when none of its codes changes under noise some ten times
larger than what the order of FP32 sums makes (--noise). Then a correct FP32 implementation has exactly these codes, and
W8A8 can be held to the bound of every other FP32 run.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from golden import fp8
from golden.cases import FP8, PLAIN
from golden.weights import random_weights, write_checkpoint, write_index, write_json
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, logging

SEED = 20260401
TRIALS = 6  # noisy runs that a token of an FP8 sequence must survive


def load(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    return model.eval()


def log_softmax(model, batch):
    """[batch, tokens, vocab], FP32. The rotary embedding's state of `dynamic` begins anew."""
    rotary = model.model.rotary_emb
    fresh = type(rotary)(config=model.config)
    model.model.rotary_emb = fresh
    with torch.no_grad():
        logits = model(input_ids=torch.as_tensor(batch)).logits
    model.model.rotary_emb = rotary
    return torch.log_softmax(logits.float(), -1)


def draw_token(rng, logprobs):
    """One half of the tokens at random, one half as the model would."""
    if rng.random() < 0.5:
        return int(rng.integers(3, len(logprobs)))
    p = np.exp(logprobs.double().numpy())
    return int(rng.choice(len(p), p=p / p.sum()))


def plain_sequence(model, length, rng):
    tokens = [1]
    while len(tokens) < length:
        tokens.append(draw_token(rng, log_softmax(model, [tokens])[0, -1]))
    return tokens


class Noise:
    """For all but the first row of a batch: what another order of sums, or another exp, would change, and more."""

    def __init__(self, size, seed):
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)

    def noise(self, like, magnitude):
        noise = torch.randn(like.shape, generator=self.generator) * magnitude
        noise[0] = 0
        return noise

    def of_sums(self, y):  # relative to the vector's RMS
        return self.noise(y, self.size * y.pow(2).mean(-1, keepdim=True).sqrt())

    def of_elements(self, x):
        return self.noise(x, self.size / 4 * x.abs())


def survives(model, tokens):
    """Whether the codes of the last token are the same in every noisy run; and its next token's logprobs."""
    logprobs = log_softmax(model, [tokens] * (1 + TRIALS))
    same = all(bool((m.codes[:, -1] == m.codes[0, -1]).all()) for m in fp8.fp8_linears(model) if m.codes is not None)
    return same, logprobs[0, -1]


def chosen_sequence(model, length, rng, noise):
    """A sequence none of whose activation codes is on a boundary."""
    for m in fp8.fp8_linears(model):
        m.round_inputs, m.noise = True, Noise(noise, 1)
    tokens, refused = [], 0
    logprobs = torch.zeros(model.config.vocab_size)
    while len(tokens) < length:
        candidate = draw_token(rng, logprobs)
        same, following = survives(model, [*tokens, candidate])
        if not same:
            refused += 1
            if refused > 40 * length:
                raise RuntimeError("no robust tokens: less --noise?")
            continue
        tokens.append(candidate)
        logprobs = following
    for m in fp8.fp8_linears(model):
        m.noise = None
    return tokens, refused


def record(exact, rounded, sequences):
    """The run's entry of golden.json from two functions: tokens -> logprobs."""
    out = {"logprobs": [], "top": [], "bf16_deviation": [], "bf16_deviations": []}
    for tokens in sequences:
        want, bf16 = exact(tokens), rounded(tokens)
        following = torch.tensor([*tokens[1:], 0])[:, None]
        values, ids = want.topk(5)
        ids_all = torch.cat([ids, following], 1)
        difference = (bf16.gather(1, ids_all) - want.gather(1, ids_all)).abs()
        difference[-1, 5] = 0  # the last token has no successor
        deviations = difference.amax(1)
        top = [
            [[int(i), round(float(v), 5)] for i, v in zip(*position, strict=True)]
            for position in zip(ids, values, strict=True)
        ]
        out["logprobs"].append([round(float(v), 5) for v in want.gather(1, following)[:-1, 0]])
        out["top"].append(top)
        out["bf16_deviation"].append(round(float(deviations.max()), 5))
        out["bf16_deviations"].append([round(float(d), 4) for d in deviations])
    return out


def dumps(golden):
    """Objects one key a line, long arrays on one line."""

    def lines(entries, indent):
        return ",\n".join(
            f"{indent}{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in entries.items()
        )

    head = lines({k: v for k, v in golden.items() if k != "runs"}, "")
    runs = ",\n".join(f"  {json.dumps(name)}: {{\n{lines(run, '    ')}\n  }}" for name, run in golden["runs"].items())
    return f'{{\n{head},\n"runs": {{\n{runs}\n}}}}\n'


def summary(golden):
    parts = []
    for name, run in golden["runs"].items():
        lp = np.concatenate([np.array(x) for x in run["logprobs"]])
        top = np.array([[p[0][1], p[0][1] - p[1][1]] for s in run["top"] for p in s])
        parts.append(
            f"{name}: logprobs {lp.min():.1f}..{lp.max():.2f}, median top-1 {np.median(top[:, 0]):.2f}, "
            f"median gap {np.median(top[:, 1]):.2f}, bf16 {run['bf16_deviation']}"
        )
    return "; ".join(parts)


def difference(folder, config_json, sequences, want):
    """The largest difference of logprobs when the folder's weights run under another config."""
    with tempfile.TemporaryDirectory() as other:
        for path in folder.iterdir():
            if path.suffix == ".safetensors" or path.name.endswith("index.json"):
                shutil.copy(path, other)
        write_json(Path(other) / "config.json", config_json)
        model = load(other, torch.float32)
        return max(float((log_softmax(model, [s])[0] - w).abs().max()) for s, w in zip(sequences, want, strict=True))


def check_plain(case, folder, sequences, want, cases):
    """A golden that a wrong implementation would meet proves nothing."""
    eps = case.config.get("rms_norm_eps", 1e-6)
    by_eps = difference(folder, case.config | {"rms_norm_eps": eps * 10}, sequences, want)
    assert by_eps > 4e-3, f"{case.name}: ten times the epsilon changes logprobs by {by_eps} only"
    reference = case.unlike or case.weights_of
    if reference:
        by_case = difference(folder, cases[reference].config, sequences, want)
        assert by_case > 0.05, f"{case.name} differs from {reference} by {by_case} only"


def make_plain(case, folder, root, cases):
    if case.weights_of:
        (folder / "model.safetensors").symlink_to(Path("..") / case.weights_of / "model.safetensors")
        write_json(folder / "config.json", case.config)
    else:
        tensors = {k: v.to(case.dtype) for k, v in random_weights(case.config, SEED).items()}
        if "inv_freq" in case.extras:  # old checkpoints hold them; these are wrong on purpose
            for layer in range(case.config["num_hidden_layers"]):
                tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.linspace(3, 0.5, 16)
        if "lm_head" in case.extras:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        write_checkpoint(folder, case.config, tensors, case.shards)
    exact = load(folder, torch.float32)
    bf16 = load(folder, torch.bfloat16)
    rng = np.random.default_rng([SEED, 7])
    sequences = [plain_sequence(exact, length, rng) for length in case.lengths]
    run = record(lambda s: log_softmax(exact, [s])[0], lambda s: log_softmax(bf16, [s])[0], sequences)
    check_plain(case, folder, sequences, [log_softmax(exact, [s])[0] for s in sequences], cases)
    return sequences, {"plain": run}


def fp8_models(case, tensors, quantized, input_scales):
    """transformers' model in FP32 and in BF16, with the linears replaced."""
    plain = {k: v for k, v in case.config.items() if k != "quantization_config"}
    models = []
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), plain, tensors)
        for dtype in (torch.float32, torch.bfloat16):
            model = load(folder, dtype)
            fp8.replace_linears(model, quantized, case.scheme, input_scales)
            models.append(model)
    return models


def calibrate(case, tensors, quantized, rng):
    """Static scales: 0.9 of the largest input over a few sequences, so that some values saturate."""
    model, _ = fp8_models(case, tensors, quantized, {})
    amax = {}
    for name in quantized:

        def note(_, inputs, name=name):
            amax[name] = max(amax.get(name, 0.0), float(inputs[0].abs().max()))

        model.get_submodule(name).register_forward_pre_hook(note)
    log_softmax(model, rng.integers(3, case.config["vocab_size"], (4, 48)))
    return {n: fp8.scale_of(torch.tensor(a) * 0.9, dtype=case.scheme.scale_dtype) for n, a in amax.items()}


def write_fp8(case, folder, root, tensors, quantized, input_scales):
    """Codes, scales and everything else in one file; static input scales in a second one, so that the dynamic case can
    link to the first."""
    write_json(folder / "config.json", case.config | {"quantization_config": fp8.quantization_config(case.scheme)})
    main, inputs = fp8.disk_tensors(quantized, case.scheme, input_scales)
    main |= {k: v for k, v in tensors.items() if not fp8.is_quantized(k)}
    first, second = "model.safetensors", "input_scales.safetensors"
    if case.weights_of:
        (folder / first).symlink_to(Path("..") / case.weights_of / first)
        written = load_file(folder / first)
        assert written.keys() == main.keys(), case.name
        assert all(torch.equal(written[k].float(), main[k].float()) for k in main), case.name
    else:
        save_file(main, folder / first, {"format": "pt"})
    if inputs:
        save_file(inputs, folder / second, {"format": "pt"})
        total = sum(t.numel() * t.element_size() for t in [*main.values(), *inputs.values()])
        write_index(folder, dict.fromkeys(main, first) | dict.fromkeys(inputs, second), total)


def make_fp8(case, folder, root, noise):
    tensors = {k: v.to(case.dtype) for k, v in random_weights(case.config, SEED, outliers=True).items()}
    quantized = fp8.quantize_model(tensors, case.scheme)
    rng = np.random.default_rng([SEED, 8])
    input_scales = calibrate(case, tensors, quantized, rng) if case.scheme.activation == "static" else {}
    write_fp8(case, folder, root, tensors, quantized, input_scales)
    exact, bf16 = fp8_models(case, tensors, quantized, input_scales)
    refused = 0
    sequences = []
    for length in case.lengths:
        tokens, count = chosen_sequence(exact, length, rng, noise)
        sequences.append(tokens)
        refused += count

    def run(round_inputs):
        for m in fp8.fp8_linears(exact) + fp8.fp8_linears(bf16):
            m.round_inputs = round_inputs
        return record(lambda s: log_softmax(exact, [s])[0], lambda s: log_softmax(bf16, [s])[0], sequences)

    runs = {"w8a16": run(False)}
    if case.scheme.activation != "none":
        runs["w8a8"] = run(True)
        runs["w8a8"]["nearer"] = [
            round(float(np.abs(np.array(a) - np.array(b)).mean()), 5)
            for a, b in zip(runs["w8a8"]["logprobs"], runs["w8a16"]["logprobs"], strict=True)
        ]
        print(f"  refused {refused} tokens; w8a8 from w8a16: {runs['w8a8']['nearer']}")
    return sequences, runs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--output", default="tests/data/models", type=Path)
    parser.add_argument("--noise", type=float, default=2e-6, help="of FP8 sequences' choice, relative to RMS")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cases = {case.name: case for case in PLAIN + FP8}
    unknown = set(args.names) - cases.keys()
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    for case in cases.values():
        if args.names and case.name not in args.names:
            continue
        folder = args.output / case.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        sequences, runs = (
            make_fp8(case, folder, args.output, args.noise)
            if case.scheme
            else make_plain(case, folder, args.output, cases)
        )
        golden = {"made_with": f"torch {torch.__version__}, transformers {sys.modules['transformers'].__version__}",
                  "sequences": sequences, "runs": runs}  # fmt: skip
        (folder / "golden.json").write_text(dumps(golden))
        print(f"{case.name}: {summary(golden)}", flush=True)


if __name__ == "__main__":
    main()
