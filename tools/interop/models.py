"""Tiny seeded Llama and Qwen3 checkpoints, made and saved by transformers itself: the sources of the interop checks."""

import dataclasses
import pathlib

import torch
import transformers


@dataclasses.dataclass(frozen=True)
class Model:
    """A source checkpoint. `whole_blocks`: every linear divides by 128x128."""

    name: str
    family: str  # "llama" or "qwen3"
    dtype: torch.dtype
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool = False
    bias: bool = False
    shard_size: str = "1GB"
    layers: int = 4
    whole_blocks: bool = True


BASE = dict(hidden=256, ffn=384, heads=4, kv_heads=2, head_dim=64)

MODELS = [
    Model("llama-bf16", "llama", torch.bfloat16, **BASE),
    Model("qwen3-sharded", "qwen3", torch.bfloat16, **BASE, shard_size="500KB"),
    Model("llama-tied-fp16", "llama", torch.float16, **BASE, tied=True, bias=True),
    Model("llama-fp32", "llama", torch.float32, **BASE),
    Model("qwen3-partial", "qwen3", torch.bfloat16, 192, 320, 4, 2, 48, tied=True, whole_blocks=False),
    # Some modules divide by 128 and some do not; k and v do not, so q must follow them.
    Model("llama-mixed", "llama", torch.bfloat16, 256, 320, 4, 1, 64, whole_blocks=False),
]

VOCAB = 320


def _config(model: Model):
    common = dict(
        vocab_size=VOCAB, hidden_size=model.hidden, intermediate_size=model.ffn, num_hidden_layers=model.layers,
        num_attention_heads=model.heads, num_key_value_heads=model.kv_heads, head_dim=model.head_dim,
        max_position_embeddings=128, tie_word_embeddings=model.tied, attention_bias=model.bias)
    if model.family == "qwen3":
        return transformers.Qwen3Config(**common)
    return transformers.LlamaConfig(**common, mlp_bias=model.bias)


def _hard_values(name: str, weight: torch.Tensor, random: torch.Generator) -> None:
    """What quantizers get wrong: outliers, zeros of both signs, values whose scale is an FP32 or BF16 subnormal."""
    rows, cols = weight.shape
    outliers = torch.randint(weight.numel(), (6,), generator=random)
    weight.view(-1)[outliers] = torch.tensor([1.5, -3.0, 0.7, -0.4, 8.0, 2.0])
    if name == "model.layers.2.self_attn.o_proj.weight":
        weight.zero_()
        weight[::2] = -0.0
    if name == "model.layers.1.mlp.gate_proj.weight":
        weight[:128, :128] = 0.0
        weight[rows - 1, :] = 0.0
        weight[rows - 2, :] *= 2.0**-130
        weight[rows - 3, :] *= 2.0**-12
    if name == "model.layers.3.self_attn.k_proj.weight":
        weight[0, :] = 0.02 * 2.0**-126  # below the smallest normal BF16 scale
        weight[0, : cols // 2] *= -1


def make(model: Model, folder: pathlib.Path) -> None:
    """Writes the checkpoint; the same bytes every time."""
    random = torch.Generator().manual_seed(sum(model.name.encode()))
    made = transformers.AutoModelForCausalLM.from_config(_config(model), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() == 1:
                mean = 1.0 if "norm" in name else 0.0
                parameter.copy_(mean + 0.02 * torch.randn(parameter.shape, generator=random))
                continue
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=random))
            if ".layers." in name:
                _hard_values(name, parameter, random)
    made.to(model.dtype).save_pretrained(folder, max_shard_size=model.shard_size)
