// A model ready to run: folder -> backend, weights, decoder, cache, tokenizer. What generate, score and chat share.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/model/decoder.h"
#include "octavo/text/tokenizer.h"

namespace octavo::engine {

// Tokens of a sequence where none are asked for: a model's own maximum may be a million, and its cache hundreds of GB.
inline constexpr std::uint64_t kDefaultContext = 8192;
inline constexpr std::uint64_t kDefaultChunk = 512;

struct RunnerOptions {
  backend::Compute compute = backend::Compute::kBF16;
  std::optional<model::ActivationMode> activations;  // nullopt: W8A8 where the machine has FP8 units, else W8A16
  std::optional<backend::KvDType> kv_dtype;          // nullopt: F32 with Compute::kF32, else BF16
  std::uint64_t context = 0;            // tokens of one sequence; 0: the model's maximum, at most kDefaultContext
  std::uint64_t sequences = 1;          // at once
  std::uint64_t cache_tokens = 0;       // that the cache has room for; 0: sequences * context. At least one context
  std::uint64_t chunk = kDefaultChunk;  // prompt tokens a step, of all sequences together
  model::LoadOptions load;  // its isa and threads are the run's; `activations` and `extra_bytes` are set here
};

// Owns everything. Move-only; one thread at a time.
struct Runner {
  std::unique_ptr<backend::Backend> backend;
  std::unique_ptr<model::LoadedModel> model;
  std::unique_ptr<model::Decoder> decoder;
  std::unique_ptr<backend::KvCache> cache;
  std::optional<text::Tokenizer> tokenizer;  // nullopt: the folder has none
  model::GenerationDefaults defaults;
  std::vector<std::int32_t> end_tokens;  // sorted: generation_config's or config's, and the tokenizer's own
  std::uint64_t context = 0, chunk = 0;
  std::uint64_t step_tokens = 0;  // the most that decoder takes in a step: chunk, sequences, a cache block
  bool asked_fp8 = false;         // --activations fp8
  bool w8a16_by_default = false;  // FP8 weights on a machine without FP8 units, and nobody asked

  // Tokens whose keys and values stand in the cache's blocks 0, 1, 2, ... in this order: a prompt that begins with
  // them need not compute them again. Kept by generate(); whoever else writes to the cache clears it.
  std::vector<std::int32_t> cached;

  const model::DecoderConfig& config() const { return model->config; }
  // One line: what the numbers of this run are.
  // "F8_E4M3 128x128 blocks; activations BF16 (W8A16: ...); compute bf16; KV cache bf16; cpu avx512, 2 threads"
  // With an FP8 head: "...; lm_head F8_E4M3 per channel (--lm-head fp8: faster, less exact); activations ..."
  std::string describe() const;
};

// What a folder is, before its weights are read: cheap. Whoever knows its prompts chooses the context by this.
struct RunnerFolder {
  Checkpoint checkpoint;
  model::DecoderConfig config;
  model::GenerationDefaults defaults;
  std::optional<text::Tokenizer> tokenizer;  // nullopt: the folder has none

  Result<std::uint64_t> context(std::uint64_t asked) const;  // context_of() this model
};
Result<RunnerFolder> read_runner_folder(const std::filesystem::path& folder);

// "bf16", "f32", "fp8", "fp8_e4m3", "fp8_e5m2", as --kv-cache-dtype has them; "auto" and all else: nullopt.
std::optional<backend::KvDType> find_kv_dtype(std::string_view name);

// Loads the weights. Failures: what load_model refuses (memory among it), a context beyond the model's, online
// quantization of a checkpoint that is in FP8 already.
Result<Runner> open_runner(RunnerFolder folder, const RunnerOptions& options);

// Random weights in the shape of `config` (model/synthetic.h); no tokenizer.
Result<Runner> open_synthetic_runner(const model::DecoderConfig& config, const RunnerOptions& options);

// `asked` tokens (0: the default) as a context of a model; a failure when it has fewer positions.
Result<std::uint64_t> context_of(const model::DecoderConfig& config, std::uint64_t asked);

}  // namespace octavo::engine
