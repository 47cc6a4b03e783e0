#!/usr/bin/env python3
"""Makes tests/data/formats: one tiny checkpoint a dialect, and what the dialect's own library dequantizes it to.

Run by hand when a library's format changes; the results are committed.

    python3 -m venv VENV && VENV/bin/pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 \
        compressed-tensors==0.20.0 nvidia-modelopt==0.47.0 amd-quark==0.13 loguru datasets accelerate
    VENV/bin/pip install --no-deps llmcompressor==0.14.0.1   # it asks for an older torch; nothing here needs that
    VENV/bin/python tools/make_format_golden.py tests/data/formats [NAME...]

NAME/ is the checkpoint, NAME.safetensors holds the dequantized weights in BF16 (product in FP32, then rounded to nearest
even, as every one of these libraries does when it is asked for FP32; with BF16 scales the product is exact before
rounding). Made by the library itself: all but angelslim-*, deepseek-* and fbgemm*, whose packages need a GPU; these
follow their published formulas in PyTorch.
"""
import json
import multiprocessing
import pathlib
import shutil
import sys
import tempfile

KEPT = ("q_proj", "down_proj", "input_layernorm")  # of the tiny model: enough, and small
CASES = {}


def case(name):
    def add(make):
        CASES[name] = make
        return make
    return add


def tiny_model(hidden=32, intermediate=64):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(7)
    config = LlamaConfig(hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=2, head_dim=hidden // 2, vocab_size=32, max_position_embeddings=64)
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.config.architectures = ["LlamaForCausalLM"]
    return model


def load(folder):
    from safetensors.torch import load_file
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def store(out, name, tensors, config, expected, hf_quant_config=None):
    from safetensors.torch import save_file
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if hf_quant_config:
        (folder / "hf_quant_config.json").write_text(json.dumps(hf_quant_config, indent=2) + "\n")
    save_file({k: v.contiguous() for k, v in expected.items()}, out / f"{name}.safetensors")


def model_config(quantization):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 1,
            "quantization_config": quantization}


def of_folder(folder, kept=KEPT):
    """The kept tensors of an exported model, and its quantization_config."""
    tensors = {k: v for k, v in load(folder).items() if any(part in k for part in kept)}
    return tensors, json.loads((folder / "config.json").read_text())["quantization_config"]


# ---- llm-compressor writes, compressed-tensors reads --------------------------------------------------------------

def llm_compressor(out, name, modifier, hidden=32, intermediate=64):
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    with tempfile.TemporaryDirectory() as work:
        source, target = pathlib.Path(work, "source"), pathlib.Path(work, "target")
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
        tokenizer.pad_token = "a"
        model = tiny_model(hidden, intermediate)
        model.save_pretrained(source)
        tokenizer.save_pretrained(source)
        model.config._name_or_path = model.name_or_path = str(source)
        rows = [{"input_ids": [(i + j) % 32 for i in range(8)], "attention_mask": [1] * 8} for j in range(4)]
        oneshot(model=model, processor=tokenizer, recipe=QuantizationModifier(ignore=["lm_head"], **modifier),
                dataset=Dataset.from_list(rows), num_calibration_samples=4, max_seq_length=8, output_dir=str(target))
        tensors, quantization = of_folder(target)
    group = quantization["config_groups"]["group_0"]
    scheme = QuantizationScheme.model_validate(group)
    compressor = BaseCompressor.get_value_from_registry(group["format"])
    expected = {}
    for weight, codes in tensors.items():
        if codes.dtype == torch.float8_e4m3fn:
            state = {"weight": codes, "weight_scale": tensors[weight + "_scale"]}
            expected[weight] = compressor.decompress(state, scheme)["weight"].to(torch.bfloat16)
    store(out, name, tensors, model_config(quantization), expected)


def scheme_of(weights, inputs):
    weights = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False, **weights}
    if inputs is not None:
        inputs = {"num_bits": 8, "type": "float", "symmetric": True, **inputs}
    return {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": inputs}}}


for preset in ("FP8", "FP8_DYNAMIC", "MXFP8"):
    CASES["ct-" + preset.lower().replace("_", "-")] = (
        lambda out, name, preset=preset: llm_compressor(out, name, {"targets": "Linear", "scheme": preset}))


@case("ct-fp8-block")  # blocks that do not divide the shapes
def ct_block(out, name):
    llm_compressor(out, name, scheme_of({"strategy": "block", "block_structure": [16, 16]},
                                        {"strategy": "group", "group_size": 16, "dynamic": True}), 40, 72)


@case("ct-w8a16")
def ct_weight_only(out, name):
    llm_compressor(out, name, scheme_of({"strategy": "channel"}, None))


# ---- transformers -------------------------------------------------------------------------------------------------

def fine_grained(out, name, block, scale_fmt="float", method="fp8", activation="dynamic"):
    import torch
    from transformers import FineGrainedFP8Config
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

    class Quantizer:
        quantization_config = FineGrainedFP8Config(weight_block_size=block, scale_fmt=scale_fmt)

    torch.manual_seed(8)
    source = {k: v for k, v in tiny_model().state_dict().items() if any(part in k for part in KEPT)}
    if method == "fp8" and block:
        source["model.layers.0.mlp.experts.gate_up_proj"] = torch.randn(2, 32, 48).to(torch.bfloat16)
    tensors, expected = {}, {}
    for key, value in source.items():
        if value.dim() < 2:
            tensors[key] = value
            continue
        if block:
            made = Fp8Quantize(Quantizer)._quantize_one(key, value.float())
        else:
            scale = value.abs().amax().float() / 448
            made = {key: (value.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn), key + "_scale_inv": scale}
        if method == "mxfp8":  # released files hold the exponents as bytes
            made = {k: v.view(torch.uint8) if v.dtype == torch.float8_e8m0fnu else v for k, v in made.items()}
        tensors.update(made)
        if activation == "static":
            tensors[key.removesuffix("weight") + "activation_scale"] = torch.tensor(0.03125)
        scale = next(v for k, v in made.items() if k != key)
        expected[key] = Fp8Dequantize(Quantizer)._dequantize_one(made[key], scale, torch.bfloat16)
    quantization = {"quant_method": method, "activation_scheme": activation,
                    "weight_block_size": list(block) if block else None}
    if scale_fmt != "float":
        quantization["scale_fmt"] = scale_fmt
    store(out, name, tensors, model_config(quantization), expected)


CASES["fp8-block"] = lambda out, name: fine_grained(out, name, (16, 16))
CASES["fp8-block-ue8m0"] = lambda out, name: fine_grained(out, name, (16, 16), "ue8m0")
CASES["fp8-transformers-tensor"] = lambda out, name: fine_grained(out, name, None)
CASES["fp8-transformers-static"] = lambda out, name: fine_grained(out, name, None, activation="static")
CASES["mxfp8-transformers"] = lambda out, name: fine_grained(out, name, (1, 32), "ue8m0", "mxfp8")


# ---- NVIDIA Model Optimizer ---------------------------------------------------------------------------------------

def modelopt(out, name, preset, hidden=32, intermediate=64, kept=KEPT, flat=True):
    import modelopt.torch.quantization as mtq
    import torch
    from modelopt.torch.export import export_hf_checkpoint
    from modelopt.torch.quantization.qtensor import FP8QTensor, MXFP8QTensor
    model = tiny_model(hidden, intermediate)
    mtq.quantize(model, getattr(mtq, preset), lambda m: m(torch.arange(8)[None]))
    with tempfile.TemporaryDirectory() as work:
        export_hf_checkpoint(model, export_dir=work)
        tensors, quantization = of_folder(pathlib.Path(work), kept)
        hf_quant_config = json.loads(pathlib.Path(work, "hf_quant_config.json").read_text())
    expected = {}
    for weight, codes in tensors.items():
        if codes.dtype != torch.float8_e4m3fn:
            continue
        scale = tensors[weight + "_scale"]
        if scale.dtype == torch.uint8:
            value = MXFP8QTensor(codes.shape, torch.float32, codes).dequantize(torch.float32, scale=scale)
        elif scale.dim() == 4:
            value = FP8QTensor(codes.shape, torch.float32, codes).dequantize(
                torch.float32, scale=scale[:, 0, :, 0], block_sizes={-1: 128, -2: 128})
        else:
            spread = scale[:, None] if scale.dim() == 1 else scale
            value = FP8QTensor(codes.shape, torch.float32, codes).dequantize(torch.float32, scale=spread)
        expected[weight] = value.to(torch.bfloat16)
    config = model_config(quantization)
    if not flat:
        del config["quantization_config"]
    store(out, name, tensors, config, expected, hf_quant_config)


CASES["modelopt-fp8"] = lambda out, name: modelopt(out, name, "FP8_DEFAULT_CFG")
CASES["modelopt-fp8-hf-quant-config"] = lambda out, name: modelopt(out, name, "FP8_DEFAULT_CFG", flat=False)
CASES["modelopt-channel"] = lambda out, name: modelopt(out, name, "FP8_PER_CHANNEL_PER_TOKEN_CFG")
CASES["modelopt-mxfp8"] = lambda out, name: modelopt(out, name, "MXFP8_DEFAULT_CFG")
CASES["modelopt-block"] = lambda out, name: modelopt(out, name, "FP8_2D_BLOCKWISE_WEIGHT_ONLY_CFG", 256, 128,
                                                     ("gate_proj", "input_layernorm"))


# ---- AMD Quark ----------------------------------------------------------------------------------------------------

def quark(out, name, weight, inputs):
    import quark.torch.quantization.config.config as q
    import torch
    from quark.torch import ModelQuantizer, export_safetensors
    layer = q.QLayerConfig(weight=weight(q).to_quantization_spec(), input_tensors=inputs(q).to_quantization_spec())
    quantizer = ModelQuantizer(q.QConfig(global_quant_config=layer, exclude=["lm_head"]))
    model = quantizer.freeze(quantizer.quantize_model(tiny_model(), [torch.arange(8)[None]]))
    expected = {}
    for module_name, module in model.named_modules():
        if hasattr(module, "get_quant_weight") and any(part in module_name for part in KEPT):
            expected[module_name + ".weight"] = module.get_quant_weight(module.weight).detach().to(torch.bfloat16)
    with tempfile.TemporaryDirectory() as work, torch.no_grad():
        export_safetensors(model, work, custom_mode="quark")
        tensors, quantization = of_folder(pathlib.Path(work))
    store(out, name, tensors, model_config(quantization), expected)


CASES["quark-tensor"] = lambda out, name: quark(
    out, name, lambda q: q.FP8E4M3PerTensorSpec(), lambda q: q.FP8E4M3PerTensorSpec())
CASES["quark-channel"] = lambda out, name: quark(
    out, name, lambda q: q.FP8E4M3PerChannelSpec(ch_axis=0), lambda q: q.FP8E4M3PerChannelSpec(ch_axis=1, is_dynamic=True))


# ---- formulas -----------------------------------------------------------------------------------------------------

def by_formula(out, name, weights, quantize, quantization, extra=None):
    """quantize(weight) -> codes, scale as stored, scale as it multiplies, name of the scale's end."""
    import torch
    torch.manual_seed(9)
    tensors, expected = {"model.norm.weight": torch.ones(32, dtype=torch.bfloat16)}, {}
    for key, shape in weights.items():
        codes, stored, scale, suffix = quantize(key, torch.randn(shape).to(torch.bfloat16).float())
        tensors[key] = codes
        tensors[key + suffix] = stored
        expected[key] = (codes.float() * scale).to(torch.bfloat16)
    tensors.update(extra or {})
    store(out, name, tensors, model_config(quantization), expected)


TWO = {"model.layers.0.self_attn.q_proj.weight": (32, 32), "model.layers.0.mlp.down_proj.weight": (32, 64)}


def to_codes(weight, scale, dtype=None):
    import torch
    dtype = dtype or torch.float8_e4m3fn
    largest = torch.finfo(dtype).max
    return (weight / scale).clamp(-largest, largest).to(dtype)


@case("deepseek-block")  # fp8_cast_bf16.py's grid, with edges that are not whole, and the .scale names of V4
def deepseek(out, name):
    import torch

    def quantize(key, weight):
        n, k = weight.shape
        grid = torch.empty(-(-n // 16), -(-k // 16))
        for i in range(grid.shape[0]):
            for j in range(grid.shape[1]):
                grid[i, j] = weight[16 * i:16 * i + 16, 16 * j:16 * j + 16].abs().max() / 448
        spread = grid.repeat_interleave(16, 0)[:n].repeat_interleave(16, 1)[:, :k]
        return to_codes(weight, spread), grid, spread, "_scale_inv"

    shapes = {"model.layers.0.self_attn.kv_a_proj_with_mqa.weight": (36, 56), **TWO}
    by_formula(out, name, shapes, quantize,
               {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [16, 16]})


def rows(key, weight):
    scale = weight.abs().amax(-1, keepdim=True) / 448
    return to_codes(weight, scale), scale, scale, "_scale"


@case("angelslim-naive")  # [out], compressed-tensors "naive-quantized" and its own names of cache scales
def angelslim(out, name):
    import torch

    def quantize(key, weight):
        codes, scale, spread, suffix = rows(key, weight)
        return codes, scale[:, 0], spread, suffix

    args = {"num_bits": 8, "type": "float", "strategy": "channel", "dynamic": False}
    by_formula(out, name, TWO, quantize, {
        "quant_method": "compressed-tensors", "format": "naive-quantized", "quantization_status": "compressed",
        "ignore": ["lm_head"], "kv_cache_scheme": {"num_bits": 8, "strategy": "tensor", "type": "float"},
        "config_groups": {"group_0": {"weights": args, "input_activations": {**args, "strategy": "token", "dynamic": True},
                                      "output_activations": None, "targets": ["Linear"]}}},
               {f"model.layers.0.self_attn.{x}_cache.scale": torch.tensor([0.5]) for x in "kv"})


@case("angelslim-fp8")  # save_name fp8, static: [1]
def angelslim_fp8(out, name):
    import torch

    def quantize(key, weight):
        scale = weight.abs().amax().reshape(1) / 448
        return to_codes(weight, scale), scale, scale, "_scale"

    by_formula(out, name, TWO, quantize,
               {"quant_method": "fp8", "ignored_layers": ["lm_head"], "activation_scheme": "static"},
               {key.removesuffix("weight") + "input_scale": torch.tensor([0.03125]) for key in TWO})


@case("fbgemm")
def fbgemm(out, name):
    by_formula(out, name, TWO, rows,
               {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]})


@case("fbgemm-experts")  # Llama 4: [experts, in, out], one scale an output
def fbgemm_experts(out, name):
    def quantize(key, weight):
        scale = weight.abs().amax(1, keepdim=True) / 448  # [experts, 1, out]
        stored = scale if "gate_up" in key else scale.transpose(1, 2)
        return to_codes(weight, scale), stored, scale, "_scale"

    experts = "model.layers.0.feed_forward.experts."
    by_formula(out, name, {experts + "gate_up_proj": (2, 16, 48), experts + "down_proj": (2, 24, 16)}, quantize,
               {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]})


@case("fnuz")  # PyTorch's own casts
def fnuz(out, name):
    import torch

    def quantize(key, weight):
        scale = weight.abs().amax() / 240
        return to_codes(weight, scale, torch.float8_e4m3fnuz), scale, scale, "_scale"

    by_formula(out, name, TWO, quantize, {"quant_method": "fp8", "activation_scheme": "dynamic"})


def run(name, out):
    CASES[name](out, name)
    print(name)


def main():
    out = pathlib.Path(sys.argv[1]).absolute()
    for name in sys.argv[2:] or CASES:
        # A process each: some of these libraries patch PyTorch.
        process = multiprocessing.get_context("spawn").Process(target=run, args=(name, out))
        process.start()
        process.join()
        if process.exitcode != 0:
            sys.exit(f"{name} failed")


if __name__ == "__main__":
    main()
