// How large an engine is: options of `octavo serve`, and what follows from them for the KV cache.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "octavo/engine/runner.h"

namespace octavo::engine {

struct EngineOptions {
  std::uint64_t max_num_batched_tokens = 512;  // --max-num-batched-tokens: of a step, all sequences together
  std::uint64_t max_num_seqs = 64;             // --max-num-seqs: running at once
  std::uint64_t max_model_len = 0;             // --max-model-len: prompt and output; 0: RunnerOptions' default context
  // At most one of the two. Neither: kDefaultUtilization. Never more than max_num_seqs sequences of max_model_len.
  std::optional<std::uint64_t> kv_memory = std::nullopt;  // --kv-memory: bytes
  std::optional<double> gpu_memory_utilization =
      std::nullopt;                        // --gpu-memory-utilization: on a CPU, of what the weights leave free
  bool enable_prefix_caching = true;       // false: blocks are shared among the n continuations of a request only
  std::uint64_t max_overtakes = 256;       // SchedulerOptions
  int max_logprobs = 20;                   // the largest k of logprobs and prompt_logprobs; -1: the vocabulary
  int sampling_threads = 0;                // 0: one a hardware thread that the process may use
  std::uint64_t seed = 0;                  // of requests that have none
  std::string weight_version = "default";  // label of the first one
};
inline constexpr double kDefaultUtilization = 0.5;

// Refuses what contradicts itself: one sentence that names the option and the value.
Status check_engine_options(const EngineOptions& options);

// The Runner's options that follow from these; `base` gives the rest. With them, open_runner makes a cache of one
// sequence; size_kv_cache() makes the real one once the weights are in memory.
RunnerOptions runner_options(const EngineOptions& options, RunnerOptions base);

// Blocks of `block_bytes` that fit. `context`: tokens of the longest sequence. `free_bytes`: memory left after weights
// and buffers. A failure where not even one such sequence fits: it names the bytes and what to change.
Result<std::uint64_t> kv_blocks_that_fit(const EngineOptions& options, std::uint64_t context, std::uint64_t block_bytes,
                                         std::uint64_t free_bytes);

// Replaces runner.cache by one of the size that fits now.
Status size_kv_cache(Runner& runner, const EngineOptions& options);

}  // namespace octavo::engine
