"""The models of tests/data/models: configs as the hub and transformers spell them, one feature or family each."""

from dataclasses import dataclass, replace

import torch

from golden.fp8 import Scheme


@dataclass
class Case:
    name: str
    config: dict
    dtype: torch.dtype = torch.bfloat16
    weights_of: str = ""  # a case above whose model.safetensors this one links to
    lengths: tuple = (40, 24)  # of the token sequences
    shards: int = 1
    extras: tuple = ()  # "inv_freq", "lm_head": tensors that must not matter
    scheme: Scheme | None = None
    unlike: str = ""  # the case that it must be told apart from: by default weights_of


def llama(**changes):
    """As hub configs of transformers 4 spell it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "max_position_embeddings": 128,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.43.0",
        "use_cache": True,
        "vocab_size": 160,
    } | changes


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def llama5(rope_parameters, **changes):
    """As transformers 5 writes it: rope_parameters with the base inside, dtype."""
    config = without(llama(**changes), "rope_scaling", "rope_theta", "torch_dtype")
    return config | {"dtype": "bfloat16", "rope_parameters": rope_parameters, "transformers_version": "5.0.0"}


def mistral(**changes):
    config = without(llama(), "attention_bias", "mlp_bias", "pretraining_tp", "rope_scaling")
    config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None}
    return config | changes


def qwen2(**changes):
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "max_position_embeddings": 128,
        "max_window_layers": 1,
        "model_type": "qwen2",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 10,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.43.1",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": 160,
    } | changes


def qwen3(**changes):
    config = qwen2() | {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "head_dim": 32,
        "model_type": "qwen3",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rope_scaling": None,
        "sliding_window": None,
        "transformers_version": "4.51.0",
    }
    return config | changes


def qwen3_5(rope_parameters, **changes):
    config = without(qwen3(**changes), "rope_scaling", "rope_theta", "torch_dtype")
    return config | {"dtype": "bfloat16", "rope_parameters": rope_parameters, "transformers_version": "5.0.0"}


LLAMA31_ROPE = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 64, "rope_type": "llama3"}  # fmt: skip

PLAIN = [
    Case("llama2", llama(num_attention_heads=4, num_key_value_heads=4, rope_theta=10000.0, tie_word_embeddings=False,
                         torch_dtype="float16"), torch.float16),
    # Only what transformers has no default for: as many key heads as heads, eps 1e-6, base 10000, untied.
    Case("llama_defaults", {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
                            "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2,
                            "vocab_size": 160}, weights_of="llama2"),
    Case("llama3", llama()),
    Case("llama3_transformers5", llama5({"rope_theta": 10000.0, "rope_type": "default"}), weights_of="llama3"),
    Case("llama31", llama(rope_scaling=LLAMA31_ROPE), weights_of="llama3", lengths=(80, 24)),
    Case("llama31_transformers5", llama5(LLAMA31_ROPE | {"rope_theta": 10000.0}), weights_of="llama3",
         lengths=(80, 24)),
    Case("llama_linear", llama(rope_scaling={"factor": 2.5, "type": "linear"}), weights_of="llama3"),
    Case("llama_dynamic", llama(rope_scaling={"factor": 4.0, "type": "dynamic"}, max_position_embeddings=32,
                                rope_theta=10000.0), weights_of="llama3", lengths=(56, 24)),
    Case("llama_dynamic_transformers5",
         llama5({"factor": 4.0, "rope_theta": 10000.0, "rope_type": "dynamic"}, max_position_embeddings=40),
         weights_of="llama3", lengths=(56, 41)),
    Case("llama_yarn", llama(rope_scaling={"factor": 4.0, "original_max_position_embeddings": 64, "rope_type": "yarn"},
                             max_position_embeddings=256, rope_theta=1000.0), weights_of="llama3", lengths=(80, 24)),
    # As Qwen2.5's model cards say to: the original length is max_position_embeddings.
    Case("llama_yarn_type", llama(rope_scaling={"factor": 4.0, "type": "yarn"}, max_position_embeddings=64,
                                  rope_theta=1000.0), weights_of="llama3", lengths=(80, 24), unlike="llama_linear"),
    Case("llama_yarn_factor", llama(rope_scaling={"attention_factor": 1.4, "beta_fast": 4.0, "beta_slow": 0.5,
                                                  "factor": 4.0, "original_max_position_embeddings": 64,
                                                  "rope_type": "yarn"}, max_position_embeddings=256,
                                    rope_theta=1000.0), weights_of="llama3", unlike="llama_yarn"),
    Case("llama_yarn_untruncated",
         llama5({"beta_fast": 4.0, "beta_slow": 0.5, "factor": 4.0, "mscale": 0.5, "mscale_all_dim": 2.0,
                 "original_max_position_embeddings": 64, "rope_theta": 1000.0, "rope_type": "yarn",
                 "truncate": False}, max_position_embeddings=256), weights_of="llama3", unlike="llama_yarn_factor"),
    Case("llama_yarn_mscale",  # mscale alone does nothing
         llama5({"beta_fast": 4.0, "factor": 4.0, "mscale": 0.5, "original_max_position_embeddings": 64,
                 "rope_theta": 1000.0, "rope_type": "yarn"}, max_position_embeddings=256), weights_of="llama3",
         unlike="llama_yarn_untruncated"),
    Case("llama_gelu", llama(hidden_act="gelu_pytorch_tanh"), weights_of="llama3"),
    Case("llama_attention_bias", llama(attention_bias=True, num_hidden_layers=1)),
    Case("llama_mlp_bias", llama(mlp_bias=True, num_hidden_layers=1, rope_theta=10000.0)),
    # A head of 24 is no divisor of the hidden size, and no multiple of a vector.
    Case("llama_head_dim", llama(head_dim=24, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1,
                                 intermediate_size=64, torch_dtype="float32"), torch.float32),
    Case("llama_shards", llama(tie_word_embeddings=False, num_hidden_layers=1), shards=3, extras=("inv_freq",)),
    Case("llama_tied_with_head", llama(num_hidden_layers=1), extras=("lm_head",)),
    Case("mistral", mistral(), weights_of="llama3", unlike="llama3_transformers5"),
    Case("mistral_window", mistral(sliding_window=12), weights_of="llama3"),
    # No num_key_value_heads: 8. No sliding_window: 4096.
    Case("mistral_defaults", {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 64,
                              "intermediate_size": 96, "num_attention_heads": 16, "num_hidden_layers": 1,
                              "vocab_size": 160, "torch_dtype": "bfloat16"}),
    Case("qwen2", qwen2()),  # sliding_window stands there and means nothing
    Case("qwen2_window", qwen2(use_sliding_window=True), weights_of="qwen2"),
    Case("qwen2_window_all", qwen2(use_sliding_window=True, max_window_layers=0, sliding_window=7),
         weights_of="qwen2", unlike="qwen2_window"),
    Case("qwen2_layer_types", without(qwen2(use_sliding_window=True, max_window_layers=1,
                                            layer_types=["sliding_attention", "full_attention"]),
                                      "torch_dtype") | {"dtype": "bfloat16"}, weights_of="qwen2",
         unlike="qwen2_window"),
    Case("qwen3", qwen3()),
    Case("qwen3_layer_types",
         qwen3_5({"rope_theta": 1000000.0, "rope_type": "default"}, use_sliding_window=True, sliding_window=9,
                 max_window_layers=2, layer_types=["sliding_attention", "full_attention"]), weights_of="qwen3"),
    Case("qwen3_attention_bias", qwen3(attention_bias=True, num_hidden_layers=1, tie_word_embeddings=False)),
    # No head_dim: 128, whatever hidden / heads is.
    Case("qwen3_defaults", {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 64,
                            "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1,
                            "num_hidden_layers": 1, "vocab_size": 160, "torch_dtype": "bfloat16"}),
]  # fmt: skip

SMALL = {"head_dim": 32, "hidden_size": 128, "intermediate_size": 192, "vocab_size": 128}
WIDE = {"head_dim": 32, "hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 1, "vocab_size": 128}
QWEN3 = {"num_attention_heads": 2, "num_hidden_layers": 1, "num_key_value_heads": 1}
BIASES = {"attention_bias": True, "mlp_bias": True, "num_hidden_layers": 1}
CHANNEL = Scheme("channel", "token", "compressed-tensors", scale_dtype=torch.bfloat16)

FP8 = [
    Case("llama_fp8_static", llama(**SMALL), scheme=Scheme("tensor", "static", "fp8")),
    Case("llama_fp8_tensor", llama(**SMALL), scheme=Scheme("tensor", "token", "fp8"), weights_of="llama_fp8_static"),
    Case("llama_fp8_channel", llama(**SMALL, **BIASES), scheme=CHANNEL),
    Case("llama_fp8_weight_only", llama(**SMALL, **BIASES), scheme=replace(CHANNEL, activation="none"),
         weights_of="llama_fp8_channel"),
    Case("llama_fp8_block", llama(**WIDE), scheme=Scheme("block", "group", "fp8")),
    Case("llama_fp8_block_pow2", llama(**SMALL | {"intermediate_size": 128, "num_hidden_layers": 1}),
         scheme=Scheme("block", "group", "fp8", pow2=True)),
    # Blocks that do not divide anything: 160 = 128 + 32, 288 = 2 * 128 + 32. BF16 scales, as Qwen3-FP8 has them.
    Case("qwen3_fp8_block", qwen3(**SMALL | QWEN3 | {"hidden_size": 160, "intermediate_size": 288}),
         scheme=Scheme("block", "group", "fp8", scale_dtype=torch.bfloat16)),
    Case("qwen3_fp8_block_ct", qwen3(**WIDE | QWEN3 | {"intermediate_size": 128}),
         scheme=Scheme("block", "group", "compressed-tensors", scale_dtype=torch.bfloat16)),
    Case("qwen3_fp8_channel", qwen3(**SMALL | QWEN3), scheme=CHANNEL),
    Case("qwen3_fp8_static_ct", qwen3(**SMALL | QWEN3),
         scheme=Scheme("tensor", "static", "compressed-tensors", scale_dtype=torch.bfloat16)),
]  # fmt: skip
