// The table of architectures. A family that differs in names and flags only is one entry more.
#include "octavo/model/architecture.h"

#include <array>

namespace octavo::model {
namespace {

constexpr TensorNames kLlamaNames{};

constexpr TensorNames qk_norm_names() {
  TensorNames names;
  names.q_norm = "self_attn.q_norm.weight";
  names.k_norm = "self_attn.k_norm.weight";
  return names;
}

// Defaults: LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config of transformers.
constexpr std::array kArchitectures{
    Architecture{.name = "LlamaForCausalLM", .model_type = "llama", .names = kLlamaNames, .mlp_bias_key = true},
    Architecture{.name = "MistralForCausalLM",
                 .model_type = "mistral",
                 .names = kLlamaNames,
                 .attention_bias_key = false,
                 .windows = WindowRule::kAllLayers,
                 .max_positions = 4096 * 32,
                 .default_kv_heads = 8,
                 .default_window = 4096},
    Architecture{.name = "Qwen2ForCausalLM",
                 .model_type = "qwen2",
                 .names = kLlamaNames,
                 .qkv_bias_always = true,
                 .attention_bias_key = false,
                 .windows = WindowRule::kUseSliding,
                 .max_positions = 32768,
                 .default_kv_heads = 32,
                 .default_window = 4096,
                 .default_max_window_layers = 28},
    Architecture{.name = "Qwen3ForCausalLM",
                 .model_type = "qwen3",
                 .names = qk_norm_names(),
                 .windows = WindowRule::kUseSliding,
                 .max_positions = 32768,
                 .default_head_dim = 128,
                 .default_kv_heads = 32,
                 .default_window = 4096,
                 .default_max_window_layers = 28},
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

}  // namespace octavo::model
