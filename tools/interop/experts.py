#!/usr/bin/env python3
"""Transposed 3-D experts (Llama 4, Qwen3-VL-MoE) against PyTorch: codes and scales of every slice, bit for bit.
Needs torch and safetensors only; nothing of Octavo but the command. usage: experts.py OCTAVO WORKDIR"""
import json, shutil, subprocess, sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

FAMILIES = {  # model_type -> (prefix of a layer, module of the experts, their router)
    "llama4": ("language_model.model.layers.", "feed_forward", "router"),
    "qwen3_vl_moe": ("model.language_model.layers.", "mlp", "gate"),
}


def make(folder, family, hidden, inter, experts, dtype, layers=2, seed=0):
    gen = torch.Generator().manual_seed(seed)

    def rand(*shape):  # rows of different sizes
        rows = torch.randn(shape[0], *[1] * (len(shape) - 1), generator=gen)
        return (torch.randn(*shape, generator=gen) * torch.exp(rows)).to(dtype)

    prefix, moe, router = FAMILIES[family]
    tensors = {}
    for i in range(layers):
        p = f"{prefix}{i}."
        for leaf, rows in (("q", hidden), ("k", hidden // 2), ("v", hidden // 2), ("o", hidden)):
            tensors[f"{p}self_attn.{leaf}_proj.weight"] = rand(rows, hidden)
        tensors[f"{p}input_layernorm.weight"] = rand(hidden)
        tensors[f"{p}{moe}.{router}.weight"] = rand(experts, hidden)
        tensors[f"{p}{moe}.experts.gate_up_proj"] = rand(experts, hidden, 2 * inter)  # [E, in, out]
        tensors[f"{p}{moe}.experts.down_proj"] = rand(experts, inter, hidden)
    tensors[f"{prefix.removesuffix('layers.')}embed_tokens.weight"] = rand(64, hidden)
    text = {"model_type": family + "_text", "hidden_size": hidden, "num_hidden_layers": layers,
            "intermediate_size": inter}
    config = {"model_type": family, "architectures": ["Test"], "torch_dtype": str(dtype)[6:], "text_config": text}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return tensors


def linears(tensors):
    """name -> (matrix [out, in], the group that shares a per-tensor scale)"""
    out = {}
    for name, t in tensors.items():
        base, leaf = name.rsplit(".", 1)
        if leaf == "gate_up_proj":
            for e in range(t.shape[0]):
                gate, up = t[e].T.chunk(2, dim=0)
                out[f"{base}.{e}.gate_proj"], out[f"{base}.{e}.up_proj"] = (gate, f"{base}.{e}"), (up, f"{base}.{e}")
        elif leaf == "down_proj":
            for e in range(t.shape[0]):
                out[f"{base}.{e}.down_proj"] = (t[e].T, name + str(e))
        elif "self_attn" in name:
            out[base] = (t, base.rsplit(".", 1)[0] if base[-6] in "qkv" else base)
    return out


def expected(w, scheme, block, scale_dtype, amax=None):
    """codes, scales as stored, scales for dequantizing"""
    w = w.float()
    n, k = w.shape
    bn, bk = {"block": block, "mxfp8": (1, 32)}.get(scheme, (1, k))
    pad = torch.nn.functional.pad(w, (0, -k % bk, 0, -n % bn))
    grid = pad.reshape(pad.shape[0] // bn, bn, pad.shape[1] // bk, bk).abs().amax((1, 3))
    if scheme == "tensor":
        grid = amax.reshape(1, 1)
    scale = torch.where(grid == 0, 1.0, grid / 448)
    if scheme == "mxfp8":
        mantissa, exponent = torch.frexp(scale)  # mantissa in [0.5, 1)
        exponent = torch.where(mantissa == 0.5, exponent - 1, exponent).clamp(-127, 127)
        stored, scale = (exponent + 127).to(torch.uint8), torch.ldexp(torch.ones_like(grid), exponent)
    else:
        stored = scale.to(scale_dtype)
        scale = stored.float()
    if scheme == "tensor":
        full = scale.expand(n, k)
    else:
        full = scale.repeat_interleave(bn, 0).repeat_interleave(bk, 1)[:n, :k]
    return (w / full).clamp(-448, 448).to(torch.float8_e4m3fn), stored, full


def compare(folder, tensors, scheme, scale_name, scale_dtype, block=(128, 128), direct=False):
    with safe_open(folder / "model.safetensors", "pt") as f:
        got = {name: f.get_tensor(name) for name in f.keys()}
    wanted, amax = linears(tensors), {}
    for name, (w, group) in wanted.items():
        w = w if direct or w.dtype != torch.float32 else w.bfloat16()
        wanted[name] = (w, group)
        amax[group] = torch.maximum(amax.get(group, torch.zeros(())), w.float().abs().max())
    fp8 = {n.removesuffix(".weight") for n, t in got.items() if t.dtype == torch.float8_e4m3fn}
    if fp8 != set(wanted):
        return f"quantized: {sorted(fp8 ^ set(wanted))[:4]} differ"
    for name, (w, group) in wanted.items():
        codes, scale, _ = expected(w, scheme, block, scale_dtype, amax[group])
        have, have_scale = got[name + ".weight"], got[f"{name}.{scale_name}"]
        if have.shape != codes.shape or not torch.equal(have.view(torch.uint8), codes.view(torch.uint8)):
            return f"codes of {name} differ"
        if have_scale.dtype != scale.dtype or not torch.equal(have_scale.flatten(), scale.flatten()):
            return f"scales of {name} differ: {have_scale.dtype} {tuple(have_scale.shape)}"
    return ""


def main():
    octavo, work = sys.argv[1], Path(sys.argv[2])
    bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32
    compressed = "compressed-tensors"
    pairs = [("dynamic", compressed, "weight_scale"), ("block", "fp8", "weight_scale_inv"),
             ("block", compressed, "weight_scale"), ("tensor", compressed, "weight_scale"),
             ("tensor", "fp8", "weight_scale"), ("weight-only", compressed, "weight_scale"),
             ("dynamic", "modelopt", "weight_scale"), ("block", "modelopt", "weight_scale"),
             ("mxfp8", compressed, "weight_scale"), ("mxfp8", "modelopt", "weight_scale"),
             ("mxfp8", "mxfp8", "weight_scale")]
    checked = 0
    failed = 0
    for family in FAMILIES:
        for dtype in (bf16, f16, f32):
            for hidden, inter, experts in ((256, 384, 3), (192, 96, 4), (136, 77, 2), (256, 128, 2), (64, 1, 1)):
                source = work / "source"
                tensors = make(source, family, hidden, inter, experts, dtype, seed=hidden + inter)
                for scheme, form, scale_name in pairs:
                    if form == "mxfp8" and (hidden % 32 or inter % 32):
                        continue  # refused: no loader has a scale for partial groups
                    for direct in ([False, True] if dtype == f32 else [False]):
                        out = work / "out"
                        shutil.rmtree(out, ignore_errors=True)
                        shutil.rmtree(f"{out}.partial", ignore_errors=True)
                        args = [octavo, "quantize", source, "-o", out, "--quiet", "--scheme", scheme, "--format", form]
                        args += ["--direct"] * direct + ["--for", "vllm"] * (form == "mxfp8")
                        run = subprocess.run(args, capture_output=True, text=True)
                        scale_dtype = bf16 if form == compressed and dtype != f16 else f32
                        why = run.stderr.strip() if run.returncode else compare(
                            out, tensors, scheme, scale_name, scale_dtype, direct=direct)
                        checked += 1
                        failed += bool(why)
                        if why:
                            print("FAIL", family, str(dtype)[6:], f"{experts}x{hidden}x{inter}", scheme, form,
                                  "direct" * direct, why)
    print(f"experts: {checked - failed} outputs equal PyTorch's codes and scales, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
