// A byte-level tokenizer for small models: every byte is a token, a few merges, special tokens, a chat template.
#pragma once

#include <cstdint>
#include <string>

#include "tests/support/checkpoint_builder.h"

namespace octavo::test {

// Ids: 0 to 255 are the bytes, then the merges "th", "the", " t", " the"; then the special tokens.
struct TinyTokenizer {
  static constexpr std::int32_t kThe = 257, kSpaceThe = 259;
  static constexpr std::int32_t kBos = 260, kEnd = 261, kUser = 262, kAssistant = 263, kSystem = 264;
  static constexpr std::int32_t kSize = 265;
};

std::string tiny_tokenizer_json();

// Adds tokenizer.json, tokenizer_config.json (with the chat template "<|system|>..<|user|>..<|assistant|>") and the end
// token to a model's folder. The model's vocabulary must have kSize rows or more.
void add_tiny_tokenizer(CheckpointBuilder& model);

}  // namespace octavo::test
