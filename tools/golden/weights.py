"""Random weights of tiny models for tools/make_golden.py, scaled so that what a model says is peaked and hangs on every
part of it: attention that looks at few tokens, MLPs that dominate the residual, norms and biases that are not 1 and 0.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

# Standard deviations; linears are divided by the square root of their inputs. The embedding is as small as real ones
# are (0.03), so that the first norm feels its epsilon.
LINEAR_STD = {"q_proj": 1.6, "k_proj": 1.6, "v_proj": 1.2, "o_proj": 1.6, "gate_proj": 1.6, "up_proj": 1.4,
              "down_proj": 1.6}  # fmt: skip
EMBEDDING_STD = 0.03
HEAD_STD = 2.6  # over the square root of hidden: the spread of the logits


def model_shapes(config_json):
    """Name -> shape of every tensor that transformers expects of a config.json (as a dict)."""
    config = dict(config_json)
    config.pop("quantization_config", None)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def random_tensor(name, shape, seed, tied, outliers):
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    module = name.split(".")[-2]
    if name.endswith(".bias"):
        values = rng.normal(0, 0.4, shape)
    elif module == "embed_tokens":
        values = rng.normal(0, EMBEDDING_STD, shape)
    elif module == "lm_head":
        values = rng.normal(0, HEAD_STD / np.sqrt(shape[1]), shape)
    elif module in LINEAR_STD:
        values = rng.normal(0, LINEAR_STD[module] / np.sqrt(shape[1]), shape)
    else:  # a norm
        values = rng.uniform(0.5, 1.5, shape)
        if module == "norm" and tied:  # makes up for the small embedding that is the head
            values *= HEAD_STD / EMBEDDING_STD / np.sqrt(shape[0])
        elif outliers and module.endswith("layernorm"):  # channels that stand out, as real activations have
            values[rng.choice(shape[0], 3, replace=False)] *= 4
    return torch.from_numpy(values.astype(np.float32))


def random_weights(config_json, seed, outliers=False):
    """FP32 tensors by name; a tied head is left out."""
    tied = config_json.get("tie_word_embeddings", False)
    return {
        name: random_tensor(name, shape, seed, tied, outliers)
        for name, shape in model_shapes(config_json).items()
        if not (tied and name == "lm_head.weight")
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_checkpoint(folder: Path, config_json, tensors, shards=1):
    """config.json and model.safetensors, or `shards` of them and an index."""
    write_json(folder / "config.json", config_json)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[i::shards])
        save_file(part, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    write_index(folder, weight_map, sum(t.numel() * t.element_size() for t in tensors.values()))


def write_index(folder, weight_map, total_size):
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))},
    )
