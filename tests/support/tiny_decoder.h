// Small decoders that run: random weights of a size that keeps activations near 1 and makes logits that differ, norms
// around 1, biases where the family has them. (tiny_model is for the quantizer: its values are weights, not a model.)
#pragma once

#include <cstdint>
#include <string>

#include "tests/support/checkpoint_builder.h"

namespace octavo::test {

struct TinyDecoder {
  std::string model_type = "qwen3";  // llama, mistral, qwen2, qwen3
  std::uint64_t layers = 2, hidden = 128, intermediate = 192, vocab = 320;
  std::uint64_t heads = 4, kv_heads = 2, head_dim = 32;
  std::uint64_t max_positions = 512;
  bool tied = false;
  DType dtype = DType::kBF16;  // BF16, F16 or F32
  std::uint64_t seed = 1;
};

// config.json can be changed before it is written: sliding_window, rope_scaling, ...
CheckpointBuilder tiny_decoder(const TinyDecoder& model = {});

}  // namespace octavo::test
