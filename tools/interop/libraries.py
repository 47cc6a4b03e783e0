"""Opens an output with safetensors, compressed-tensors, ModelOpt and transformers. Each check returns (status, detail),
status "ok", "fail" or "skip"; "skip" only where the library cannot do what is asked and was seen to fail in just that
way."""

import json
import pathlib

import torch
import transformers
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.format import infer_module_format
from compressed_tensors.entrypoints.convert.converters import CompressedTensorsDequantizer, FP8BlockDequantizer
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from safetensors import safe_open

from cases import Case
from reference import as_float, decode, differing, is_scale

Result = tuple[str, str]
TOKENS = torch.arange(12)[None]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], detail: str) -> Result:
    wrong = differing(a, b)
    return ("fail", wrong) if wrong else ("ok", detail)


def load_folder(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            for name in file.keys():
                assert name not in tensors, f"{name} stands in two shards"
                tensors[name] = file.get_tensor(name)
    return tensors


def check_safetensors(folder: pathlib.Path) -> Result:
    """Every tensor of every shard opens; the metadata and the index say what loaders need."""
    places, total = {}, 0
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            if (file.metadata() or {}).get("format") != "pt":
                return "fail", f'{shard.name}: no "format": "pt" in the metadata'
            for name in file.keys():
                places[name] = shard.name
                total += file.get_tensor(name).nbytes
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        single = len(set(places.values())) == 1
        return ("ok", f"{len(places)} tensors") if single else ("fail", "shards without an index")
    index = json.loads(index.read_text())
    if index["weight_map"] != places:
        return "fail", "the index does not name the shards the tensors are in"
    if index["metadata"]["total_size"] != total:
        return "fail", f"the index says total_size {index['metadata']['total_size']}, the tensors hold {total} bytes"
    return "ok", f"{len(places)} tensors in {len(set(places.values()))} shards"


def _bare_model(folder: pathlib.Path):
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def _quantized(tensors: dict[str, torch.Tensor]) -> set[str]:
    return {name.rpartition(".")[0] for name in tensors if is_scale(name)}


def check_compressed_tensors(folder: pathlib.Path, case: Case, tensors, dequantized) -> Result:
    """Its config class takes the config, its matching finds just our FP8 modules, its compressors give our weights."""
    if case.format == "fp8":
        return _check_block_converter(case, tensors, dequantized)
    config = QuantizationConfig.model_validate(json.loads((folder / "config.json").read_text())["quantization_config"])
    model = _bare_model(folder)
    apply_quantization_config(model, config, show_progress=False)
    schemes = {n: m.quantization_scheme for n, m in model.named_modules() if hasattr(m, "quantization_scheme")}
    disputed = sorted(schemes.keys() ^ _quantized(tensors))
    if disputed:
        return "fail", f"it and the file differ on what is quantized: {disputed[:3]}"
    got, want = {}, {}
    for module, scheme in schemes.items():
        inferred = infer_module_format(torch.nn.Linear, scheme).value
        if inferred != scheme.format:
            return "fail", f"{module}: format {scheme.format}, but it infers {inferred}"
        prefix = module + "."
        state = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix + "weight")}
        compressor = BaseCompressor.get_value_from_registry(scheme.format)
        got[prefix + "weight"] = compressor.decompress(state, scheme)["weight"].to(torch.bfloat16)
        want[prefix + "weight"] = dequantized[prefix + "weight"]
    return same(got, want, f"{len(got)} weights equal octavo dequantize")


def check_dequantizer(folder: pathlib.Path, tensors, dequantized) -> Result:
    """What llm-compressor's converters dequantize a whole folder with: by the config and the names in the files."""
    converter = CompressedTensorsDequantizer(str(folder))
    kept = [n.removesuffix(".weight") for n in tensors if n.endswith(".weight") and n + "_scale" not in tensors]
    missed = [n for n in kept if n not in converter.quant_config.ignore]
    # It takes every two-dimensional weight for a Linear, embeddings too: those it must be told.
    converter.quant_config.ignore += [n for n in missed if "embed" in n]
    return same(converter.validate(dict(tensors)), dequantized, f"{len(_quantized(tensors))} weights equal octavo's")


def check_modelopt(case: Case, tensors, dequantized) -> Result:
    """ModelOpt writes checkpoints and has no loader of them; this is its own decoding of the tensors it exports."""
    from modelopt.torch.quantization.qtensor import FP8QTensor, MXFP8QTensor

    got, want = {}, {}
    for module in _quantized(tensors):
        codes, scale = tensors[module + ".weight"], tensors[module + ".weight_scale"]
        if case.scheme == "mxfp8":
            value = MXFP8QTensor(codes.shape, torch.float32, codes).dequantize(torch.float32, scale=scale)
        elif case.scheme == "block":
            value = FP8QTensor(codes.shape, torch.float32, codes).dequantize(
                torch.float32, scale=scale[:, 0, :, 0], block_sizes={-1: case.block, -2: case.block})
        else:
            spread = scale[:, None] if scale.dim() == 1 else scale
            value = FP8QTensor(codes.shape, torch.float32, codes).dequantize(torch.float32, scale=spread)
        got[module + ".weight"] = value.to(torch.bfloat16)
        want[module + ".weight"] = dequantized[module + ".weight"]
    return same(got, want, f"{len(got)} weights equal octavo dequantize")


def _check_block_converter(case: Case, tensors, dequantized) -> Result:
    if case.scheme != "block":
        return "skip", "compressed-tensors reads fp8 files in blocks only (its FP8BlockDequantizer)"
    converter = FP8BlockDequantizer(targets=["re:.*"], weight_block_size=(case.block, case.block))
    converter._checkpoint_targets = frozenset(_quantized(tensors))  # what its from_pretrained reads off the files
    got = converter.validate(dict(tensors))
    return same(got, dequantized, f"{len(_quantized(tensors))} weights equal octavo dequantize")


def check_fp8_modules(folder: pathlib.Path, case: Case, tensors) -> Result:
    """Which modules transformers makes FP8 where it has the GPU for it, and what names and shapes these then want."""
    from transformers.integrations.finegrained_fp8 import replace_with_fp8_linear

    if any(n.endswith(".weight_scale") for n in tensors):
        return "skip", "transformers' FP8 modules want weight_scale_inv; the file is for engines that want weight_scale"
    config = transformers.FineGrainedFP8Config(
        **json.loads((folder / "config.json").read_text())["quantization_config"])
    model = replace_with_fp8_linear(_bare_model(folder), modules_to_not_convert=config.modules_to_not_convert,
                                    quantization_config=config, pre_quantized=True)
    wanted = {n: list(p.shape) for n, p in model.named_parameters()}
    held = {n: list(t.shape) for n, t in tensors.items()}
    if "lm_head.weight" not in held:
        wanted.pop("lm_head.weight", None)  # tied
    if wanted != held:
        differ = sorted(n for n in wanted.keys() | held.keys() if wanted.get(n) != held.get(n))
        return "fail", f"{differ[0]}: wants {wanted.get(differ[0])}, the file holds {held.get(differ[0])}"
    return "ok", f"{len(_quantized(tensors))} FP8 modules with the names and shapes of the file"


# How transformers is known to fail, each told apart by what it did: (applies to the case, what it did) -> reason.
def _known_limit(case: Case, ragged: bool, groups: int, error: Exception | None, unexpected: list[str]) -> str:
    text = str(error or "")
    scales_unread = bool(unexpected) and all(
        n.endswith((".weight_scale", ".input_scale")) for n in unexpected)
    if case.format == "compressed-tensors" and bool(unexpected) and all(n.endswith(".input_scale") for n in unexpected):
        return "transformers' dequantize=True leaves the scales of activations unread"
    if case.format == "modelopt" and scales_unread:
        return "transformers knows no modelopt: it drops the config and leaves the scales unread"
    if case.format in ("fp8", "mxfp8") and scales_unread:
        return f"transformers wants weight_scale_inv for {case.format}; it leaves weight_scale unread"
    if case.format == "fp8" and ragged and "automatic conversion of the weights" in text:
        return "transformers refuses partial blocks in the fp8 format"
    if case.format == "compressed-tensors" and ragged and text.startswith("unflatten"):
        return "transformers quantizes activations in whole groups, which K does not divide into"
    if groups > 1 and "automatic conversion of the weights" in text:
        return "transformers' dequantize=True knows one config group only"
    return ""


def _by_grid(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The fp8 format as transformers decodes it: the block is the shape divided by the grid, right or not."""
    out = {}
    for name, codes in tensors.items():
        scale = tensors.get(name + "_scale_inv")
        if scale is not None and not any(a % b for a, b in zip(codes.shape, scale.shape)):
            rows, cols = (a // b for a, b in zip(codes.shape, scale.shape))
            spread = scale.float().repeat_interleave(rows, 0).repeat_interleave(cols, 1)
            out[name] = (codes.float() * spread).to(torch.bfloat16)
    return out


def check_transformers(folder: pathlib.Path, case: Case, dequantize: bool, tensors, dequantized, dequantized_f32,
                       tied: bool) -> Result:
    """from_pretrained on the CPU: no key missing or unexpected, finite logits, and octavo dequantize's weights.
    By itself it decompresses on the first forward (compressed-tensors) or on load (fp8); dequantize=True does it on
    load."""
    kept = {t.dtype for n, t in tensors.items() if t.dtype.itemsize > 1 and not is_scale(n)}
    # Under fp8 and mxfp8 transformers leaves kept tensors in the dtype of the file whatever is asked for: ask for that.
    fine_grained = case.format in ("fp8", "mxfp8")
    dtype = torch.bfloat16 if not fine_grained else max(kept, key=lambda d: d.itemsize)
    options = {"dtype": dtype, "output_loading_info": True}
    if dequantize and case.format != "modelopt":  # for which it has no config
        options["quantization_config"] = (transformers.FineGrainedFP8Config(dequantize=True) if fine_grained
                                          else transformers.CompressedTensorsConfig(dequantize=True))
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    groups = len(config.get("config_groups", {}))
    ragged = case.scheme == "block" and any(d % case.block for n in _quantized(tensors)
                                            for d in tensors[n + ".weight"].shape)
    error, info, model, logits = None, {}, None, None
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, **options)
        with torch.no_grad():
            logits = model(TOKENS).logits
    except Exception as e:  # noqa: BLE001  whatever the library raises is its answer
        error = e
    bad = {key: sorted(map(str, value)) for key, value in info.items() if value}
    if error or bad:
        limit = _known_limit(case, ragged, groups, error, bad.get("unexpected_keys", []))
        if limit:
            return "skip", limit
        return "fail", f"{type(error).__name__}: {str(error)[:200]}" if error else f"{bad}"
    if not logits.isfinite().all():
        return "fail", "logits are not finite"

    got = {n: t for n, t in model.state_dict().items() if not is_scale(n)}
    if tied:
        got.pop("lm_head.weight")
    exact = dequantized if dtype == torch.bfloat16 else dequantized_f32
    wrong = differing(got, {n: t.to(dtype) for n, t in exact.items()})
    if not wrong:
        return "ok", f"{len(_quantized(tensors))} weights equal octavo dequantize, logits finite"
    f32_scales = any(t.dtype == torch.float32 for n, t in tensors.items() if is_scale(n))
    if case.format == "compressed-tensors" and f32_scales and not dequantize:
        rounded = {n: t.to(dtype) if is_scale(n) else t for n, t in tensors.items()}
        if not differing(got, {n: t.to(dtype) for n, t in decode(rounded, case, dtype).items()}):
            return "skip", "transformers rounds F32 scales to the model's dtype unless dequantize=True"
    if case.format == "fp8" and ragged:
        grid = _by_grid(tensors)
        if not differing({n: got[n] for n in grid}, grid):
            return "skip", "transformers misreads partial blocks in the fp8 format without a word"
    return "fail", wrong
