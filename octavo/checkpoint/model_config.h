// What the quantizer needs to know of a model from its config.json: nothing that depends on the architecture's code.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/json.h"

namespace octavo {

// Where multimodal models keep the config of their language model.
inline constexpr std::array<const char*, 3> kLanguageModelKeys = {"text_config", "llm_config", "language_config"};

// The config itself, then that of the language model inside a multimodal one.
std::vector<const Json*> config_levels(const Json& config);
// The number above zero at `key` in the first level that has one; 0 when none has.
std::uint64_t language_model_number(const Json& config, const char* key);

// The names of the families that store experts transposed, [experts, in, out], with gate and up as halves, and whose
// models in transformers load experts in one tensor only, where vLLM and SGLang take them one by one as well.
inline constexpr std::array<std::string_view, 4> kTransposedExperts = {"llama4", "llama4_text", "qwen3_vl_moe",
                                                                       "qwen3_vl_moe_text"};
inline bool has_transposed_experts(std::string_view model_type) {
  return std::find(kTransposedExperts.begin(), kTransposedExperts.end(), model_type) != kTransposedExperts.end();
}
// Of those, whether transformers looks for the experts in one tensor only. For compressed-tensors it makes Llama 4's
// experts linears of their own (quantizers/base.py, SequentialLlama4TextExperts).
inline bool transformers_wants_one_tensor(std::string_view model_type, bool compressed_tensors) {
  return has_transposed_experts(model_type) && !(compressed_tensors && model_type.starts_with("llama4"));
}

struct ModelConfig {
  std::string model_type;  // "" when absent
  std::vector<std::string> architectures;
  std::optional<std::uint64_t> num_hidden_layers;  // also from text_config / llm_config of multimodal models
  std::string dtype;                               // torch_dtype or dtype: "bfloat16"; "" when absent or no string
  bool tie_word_embeddings = false;
  bool quantized = false;  // has a non-null quantization_config
};

// `origin` is the path for messages. Wrong types are errors with a JSON pointer.
Result<ModelConfig> parse_model_config(const Json& config, std::string_view origin);

}  // namespace octavo
