// A model ready to run: folder -> backend, weights, tokenizer, templates. What generate, score and chat share.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "octavo/backend/backend.h"
#include "octavo/model/decoder.h"
#include "octavo/text/tokenizer.h"

namespace octavo::engine {

struct RunnerOptions {
  backend::Compute compute = backend::Compute::kBF16;
  std::optional<backend::KvDType> kv_dtype;  // nullopt: F32 with Compute::kF32, else BF16
  std::uint64_t context = 0;                 // tokens of one sequence; 0: the model's max_position_embeddings, capped
  std::uint64_t sequences = 1;               // at once
  std::uint64_t chunk = 512;                 // prompt tokens a step
  Isa isa = Isa::kScalar;
  int threads = 1;
  model::LoadOptions load;
};

// Owns everything. Move-only.
struct Runner {
  std::unique_ptr<backend::Backend> backend;
  std::unique_ptr<model::LoadedModel> model;
  std::unique_ptr<model::Decoder> decoder;
  std::unique_ptr<backend::KvCache> cache;
  std::optional<text::Tokenizer> tokenizer;
  model::GenerationDefaults defaults;
  std::uint64_t context = 0, sequences = 0, chunk = 0;

  // "FP8 E4M3 128x128 blocks, activations BF16 (W8A16: ...), compute bf16, KV cache BF16, cpu avx512, 2 threads"
  std::string describe() const;
};

Result<Runner> open_runner(const std::filesystem::path& folder, const RunnerOptions& options);

}  // namespace octavo::engine
