// What a GGUF file says about its model: the hyperparameters, and config.json made from them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/json.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/gguf/container.h"

namespace octavo {

struct GgufModel {
  std::string architecture;  // "llama", "qwen2", "qwen3"
  std::uint64_t layers = 0;
  std::uint64_t hidden = 0;
  std::uint64_t intermediate = 0;  // rows of ffn_gate
  std::uint64_t heads = 0;
  std::uint64_t kv_heads = 0;
  std::uint64_t head_dim = 0;
  std::uint64_t context = 0;  // max_position_embeddings
  std::uint64_t vocab = 0;    // rows of token_embd
  Json rms_norm_eps;          // as shortest decimals that give the file's FP32
  Json rope_theta;
  Json rope_scaling;            // null, or an object as config.json has it
  bool tied = false;            // no output.weight
  bool attention_bias = false;  // biases on q, k and v (llama, qwen3: on o too)
  bool mlp_bias = false;
  std::optional<std::uint64_t> bos, eos, pad;
};

// Reads and checks the metadata against the shapes of the first layer's tensors. `source` gives rope_freqs.weight, the
// only tensor that is data of the config. `notes` receives sentences a user should see.
Result<GgufModel> describe_gguf_model(const GgufFile& file, const ByteSource& source, std::vector<std::string>& notes);

// config.json and generation_config.json, keys in Hugging Face's order.
Json make_config(const GgufModel& model, DType dtype);
Json make_generation_config(const GgufFile& file, const GgufModel& model);

// The number whose shortest decimals round to this FP32: 9.99999974e-06 becomes 1e-05.
Json shortest_float(float value);

}  // namespace octavo
