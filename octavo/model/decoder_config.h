// What config.json says of a decoder, in one form for every family: sizes, norms, rotary embedding, windows.
// Absent keys take transformers' defaults of the model type; both spellings of transformers 4 and 5 are read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/base/json.h"
#include "octavo/model/architecture.h"

namespace octavo::model {

// Rotary position embedding. The formulas are transformers' modeling_rope_utils; see rope.cc.
struct RopeConfig {
  enum class Kind : std::uint8_t { kDefault, kLinear, kDynamic, kYarn, kLlama3 };
  Kind kind = Kind::kDefault;
  double theta = 10000;
  double partial_rotary_factor = 1;  // of head_dim, from its beginning
  double factor = 1;
  std::uint64_t trained_positions = 0;               // dynamic: max_position_embeddings
  std::uint64_t original_max_position = 0;           // yarn, llama3: absent, max_position_embeddings
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  std::optional<double> attention_factor;            // yarn
  std::optional<double> mscale, mscale_all_dim;      // yarn
  bool truncate = true;                              // yarn: correction range rounded to whole dimensions
};

struct DecoderConfig {
  const Architecture* architecture = nullptr;
  std::string model_type;
  std::uint64_t layers = 0, hidden = 0, intermediate = 0, vocab = 0;
  std::uint64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::uint64_t max_positions = 0;  // of a sequence: max_position_embeddings, times the factor where rope is scaled
  float norm_eps = 1e-6f;
  backend::GatedActivation activation = backend::GatedActivation::kSilu;
  bool tie_word_embeddings = false;
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  RopeConfig rope;
  std::vector<std::uint64_t> windows;  // one a layer; 0 = full attention
  std::vector<std::int32_t> eos_token_ids;
  std::optional<std::int32_t> bos_token_id;
  std::string dtype;  // "bfloat16"; "" when absent

  std::uint64_t q_size() const { return heads * head_dim; }
  std::uint64_t kv_size() const { return kv_heads * head_dim; }
};

// `origin` (the path of config.json) starts every message. An architecture that Octavo does not run, a missing size, a
// wrong type or an unknown rope type is an error with its JSON pointer.
Result<DecoderConfig> parse_decoder_config(const Json& config, std::string_view origin);

// generation_config.json of a model folder: what overrides the end tokens, and how its authors sample.
struct GenerationDefaults {
  std::vector<std::int32_t> eos_token_ids;  // empty: config.json's stand
  std::optional<bool> do_sample;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<std::int64_t> top_k;
};
// All empty where the folder has no such file.
Result<GenerationDefaults> read_generation_defaults(const std::filesystem::path& folder);

}  // namespace octavo::model
