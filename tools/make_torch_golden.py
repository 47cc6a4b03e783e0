#!/usr/bin/env python3
"""Makes tests/data/torch: files written by torch.save and what they hold, for tests/checkpoint/torch_golden_test.cc.
Needs: pip install torch numpy safetensors. Run from the repository's root:

    python3 tools/make_torch_golden.py

good/NAME.bin holds the tensors of good/NAME.safetensors. bad/NAME.bin must be refused. opt/ and sharded/ are folders with
the same weights as .bin and, under safetensors/, as safetensors.
"""

import argparse
import json
import os
import pathlib
import pickle

import numpy as np
import torch
from safetensors.torch import save_file

DTYPES = ["float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32",
          "uint64", "bool", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
          "complex64"]


def make(dtype, *shape):
    """A tensor of random bits, so that every byte counts."""
    dtype = getattr(torch, dtype)
    count = int(np.prod(shape)) if shape else 1
    if dtype == torch.bool:
        return torch.randint(0, 2, shape).bool()
    raw = torch.randint(0, 256, (count * dtype.itemsize,), dtype=torch.uint8)
    return raw.view(dtype).reshape(shape)


def plain(dtypes=DTYPES):
    return {f"{name}.weight": make(name, 3, 5) for name in dtypes}


def views():
    """Views that lie in one piece of a storage that others share."""
    whole = make("float16", 6, 4)
    flat = make("float32", 20)
    return {
        "rows.weight": whole[2:5],
        "row.weight": whole[1],
        "whole.weight": whole,
        "flat.tail": flat[7:19].view(3, 4),
        "column.weight": make("float32", 5, 1)[:, 0],
        "one.weight": make("float32", 4, 4)[:1, 1:3],  # strides (4, 1), but of one row
        "scalar": flat[3],
        "none.weight": make("float32", 0, 4),
        "no.columns": make("float32", 4, 0),
    }


def tied():
    embedding = make("bfloat16", 8, 4)
    return {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding, "model.norm.weight": make("bfloat16", 4)}


def module():
    """The state dict of a module: an OrderedDict with the attribute _metadata, and parameters that keep their class."""
    torch.manual_seed(1)
    layer = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    return layer.state_dict()


def parameters():
    with_state = torch.nn.Parameter(make("float32", 2, 2).nan_to_num(0.5))
    with_state.note = "an attribute"
    return {"plain": torch.nn.Parameter(make("float32", 2, 3)), "frozen": torch.nn.Parameter(make("float16", 3), False),
            "with.state": with_state}


def save_good(folder, name, tensors, *, wrap=None, **options):
    torch.save(wrap(tensors) if wrap else tensors, folder / f"{name}.bin", **options)
    bare = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    save_file(bare, folder / f"{name}.safetensors")
    again = torch.load(folder / f"{name}.bin", weights_only=False)  # our own file; weights_only knows no protocol 4
    again = again["state_dict"] if "state_dict" in again else again
    for key, value in bare.items():
        assert torch.equal(again[key].detach().contiguous().flatten().view(torch.uint8),
                           value.flatten().view(torch.uint8)), key


def good(folder):
    save_good(folder, "zip", plain())
    for protocol in (3, 4, 5):
        save_good(folder, f"zip_protocol{protocol}", plain(DTYPES[:3]), pickle_protocol=protocol)
    old = dict(_use_new_zipfile_serialization=False)
    save_good(folder, "legacy", plain(DTYPES[:9]), **old)
    save_good(folder, "legacy_protocol4", plain(DTYPES[:3]), pickle_protocol=4, **old)
    save_good(folder, "views", views())
    save_good(folder, "legacy_views", views(), **old)
    save_good(folder, "tied", tied())
    save_good(folder, "module", module())
    save_good(folder, "parameters", parameters())
    save_good(folder, "wrapped", plain(DTYPES[:2]), wrap=lambda t: {"epoch": 3, "state_dict": t, "loss": [0.25, None]})
    save_good(folder, "legacy_wrapped", plain(DTYPES[:2]), wrap=lambda t: {"state_dict": t}, **old)
    # More items than one batch of a pickle, and memo places of more than a byte.
    save_good(folder, "many", {f"layers.{i}.bias": make("uint8", 1) for i in range(70)}, pickle_protocol=2)


class Call:
    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


def bad(folder):
    weight = make("float32", 4, 6)
    old = dict(_use_new_zipfile_serialization=False)

    def save(name, value, **options):
        torch.save(value, folder / f"{name}.bin", **options)

    save("system", {"a": weight, "b": Call(os.system, "true")})
    save("legacy_system", {"a": weight, "b": Call(os.system, "true")}, **old)
    save("eval_protocol4", {"a": Call(eval, "1")}, pickle_protocol=4)
    (folder / "bare_pickle.bin").write_bytes(pickle.dumps(Call(os.system, "true"), protocol=2))
    (folder / "protocol0.bin").write_bytes(pickle.dumps({"a": 1}, protocol=0))
    (folder / "plain_pickle.bin").write_bytes(pickle.dumps({"a": 1}, protocol=4))
    save("transposed", {"a.weight": weight.t()})
    save("strided", {"a.weight": weight[:, 1:3]})
    save("expanded", {"a.weight": weight[:1].expand(4, 6)})
    save("numpy", {"a.weight": np.zeros(3)})
    save("sparse", {"a.weight": weight.to_sparse()})
    save("complex128", {"a.weight": make("complex64", 2).to(torch.complex128)})
    save("conjugate", {"a.weight": make("complex64", 2).conj()})
    save("module_object", torch.nn.Linear(2, 2))
    save("tensor", weight)
    save("list", [weight])
    save("nested", {"optimizer": {"a": weight}, "epoch": 1})
    save("two_wrappers", {"model": {"a": weight}, "state_dict": {"a": weight}})
    save("with_number", {"a": weight, "epoch": 3})
    save("number_key", {0: weight})
    save("empty", {})
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "script.bin")


def save_shards(folder, shards, config):
    plain_folder = folder / "safetensors"
    plain_folder.mkdir(parents=True, exist_ok=True)
    weight_map, total = {}, 0
    for i, tensors in enumerate(shards):
        part = f"-{i + 1:05}-of-{len(shards):05}" if len(shards) > 1 else ""
        torch.save(tensors, folder / f"pytorch_model{part}.bin")
        bare = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        save_file(bare, plain_folder / f"model{part}.safetensors", metadata={"format": "pt"})
        weight_map.update({name: part for name in tensors})
        total += sum(t.numel() * t.element_size() for t in tensors.values())
    for into in (folder, plain_folder):
        (into / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if len(shards) > 1:
        for path, pattern in ((folder / "pytorch_model.bin.index.json", "pytorch_model{}.bin"),
                              (plain_folder / "model.safetensors.index.json", "model{}.safetensors")):
            names = {name: pattern.format(part) for name, part in sorted(weight_map.items())}
            path.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": names}, indent=2) + "\n")


def opt_weights(config):
    """The names of facebook/opt-125m's pytorch_model.bin, `decoder.` first, all FP16."""
    hidden, ffn = config["hidden_size"], config["ffn_dim"]
    half = lambda *shape: torch.randn(*shape).mul(0.02).half()
    tensors = {"decoder.embed_tokens.weight": half(config["vocab_size"], hidden),
               "decoder.embed_positions.weight": half(config["max_position_embeddings"] + 2, hidden)}
    for layer in range(config["num_hidden_layers"]):
        at = f"decoder.layers.{layer}."
        for name, rows, columns in (("self_attn.k_proj", hidden, hidden), ("self_attn.v_proj", hidden, hidden),
                                    ("self_attn.q_proj", hidden, hidden), ("self_attn.out_proj", hidden, hidden),
                                    ("fc1", ffn, hidden), ("fc2", hidden, ffn)):
            tensors[f"{at}{name}.weight"] = half(rows, columns)
            tensors[f"{at}{name}.bias"] = half(rows)
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            tensors[f"{at}{name}.weight"] = torch.ones(hidden).half()
            tensors[f"{at}{name}.bias"] = torch.zeros(hidden).half()
    tensors["decoder.final_layer_norm.weight"] = torch.ones(hidden).half()
    tensors["decoder.final_layer_norm.bias"] = torch.zeros(hidden).half()
    return tensors


OPT_TINY = {"architectures": ["OPTForCausalLM"], "model_type": "opt", "hidden_size": 16, "ffn_dim": 32, "vocab_size": 24,
            "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 8, "word_embed_proj_dim": 16,
            "do_layer_norm_before": True, "activation_function": "relu", "torch_dtype": "float16"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="tests/data/torch", type=pathlib.Path)
    parser.add_argument("--opt", metavar="CONFIG.json DIR", nargs=2, type=pathlib.Path,
                        help="instead make DIR, a model of an OPT config's size, with a tied lm_head.weight")
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.opt:
        config = json.loads(args.opt[0].read_text())
        tensors = opt_weights(config)
        save_shards(args.opt[1], [tensors], config)
        return
    for name in ("good", "bad"):
        (args.output / name).mkdir(parents=True, exist_ok=True)
    good(args.output / "good")
    bad(args.output / "bad")
    opt = opt_weights(OPT_TINY)
    save_shards(args.output / "opt", [opt], OPT_TINY)
    names = list(opt)
    cuts = [dict((n, opt[n]) for n in names[i::3]) for i in range(3)]
    save_shards(args.output / "sharded", cuts, OPT_TINY)


if __name__ == "__main__":
    main()
