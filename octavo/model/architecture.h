// Architectures as data: what a family calls its tensors, and how it differs from the one decoder forward.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "octavo/backend/backend.h"

namespace octavo::model {

// Tensor names; "{}" stands for the layer's number. An empty name: the family has no such tensor.
struct TensorNames {
  std::string_view embedding = "model.embed_tokens.weight";
  std::string_view final_norm = "model.norm.weight";
  std::string_view head = "lm_head.weight";
  std::string_view layer = "model.layers.{}.";  // stands before every name below
  std::string_view input_norm = "input_layernorm.weight";
  std::string_view q = "self_attn.q_proj", k = "self_attn.k_proj", v = "self_attn.v_proj", o = "self_attn.o_proj";
  std::string_view q_norm = "", k_norm = "";
  std::string_view post_attention_norm = "post_attention_layernorm.weight";
  std::string_view gate = "mlp.gate_proj", up = "mlp.up_proj", down = "mlp.down_proj";
};

// Which layers attend through a sliding window.
enum class WindowRule : std::uint8_t {
  kNone,        // config keys about windows are ignored, as transformers does for the family
  kAllLayers,   // every layer, when sliding_window is set (Mistral)
  kUseSliding,  // use_sliding_window, from layer max_window_layers on; layer_types when given (Qwen2, Qwen3)
};

struct Architecture {
  std::string_view name;        // of config.json /architectures: "Qwen3ForCausalLM"
  std::string_view model_type;  // "qwen3"
  TensorNames names;
  bool qkv_bias_always = false;    // Qwen2: q, k, v have a bias without a key that says so
  bool attention_bias_key = true;  // attention_bias of config.json puts a bias on q, k, v and, with o_bias_key, on o
  bool o_bias_key = true;
  bool mlp_bias_key = false;
  WindowRule windows = WindowRule::kNone;
  // transformers' defaults of the family's configuration class.
  double rope_theta = 10000;
  double norm_eps = 1e-6;
  std::uint64_t max_positions = 2048;
  std::uint64_t default_head_dim = 0;  // 0: hidden / heads
  std::uint64_t default_kv_heads = 0;  // 0: as many as heads
  std::uint64_t default_window = 0;    // 0: none
  std::uint64_t default_max_window_layers = 0;
};

std::span<const Architecture> architectures();

}  // namespace octavo::model
