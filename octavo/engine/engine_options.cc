// Sizes that follow from each other.
#include "octavo/engine/engine_options.h"

#include <algorithm>
#include <limits>

#include "octavo/base/memory.h"
#include "octavo/base/text.h"
#include "octavo/engine/kv_blocks.h"

namespace octavo::engine {

Status check_engine_options(const EngineOptions& o) {
  if (o.max_num_seqs == 0) return usage_error("max_num_seqs 0: must be 1 or more");
  if (o.max_num_batched_tokens < o.max_num_seqs) {
    return usage_error("max_num_batched_tokens {}: must be at least max_num_seqs, {}: a step has a token of each",
                       o.max_num_batched_tokens, o.max_num_seqs);
  }
  if (o.kv_memory && o.gpu_memory_utilization) {
    return usage_error("kv_memory and gpu_memory_utilization say the same: give one of them");
  }
  if (const double share = o.gpu_memory_utilization.value_or(1); !(share > 0 && share <= 1)) {
    return usage_error("gpu_memory_utilization {}: must be above 0 and at most 1", share);
  }
  if (o.max_overtakes == 0) return usage_error("max_overtakes 0: must be 1 or more");
  if (o.sampling_threads < 0) return usage_error("sampling_threads {}: must be 0 or more", o.sampling_threads);
  if (o.max_logprobs < -1) return usage_error("max_logprobs {}: must be 0 or more, or -1 for all", o.max_logprobs);
  return {};
}

RunnerOptions runner_options(const EngineOptions& options, RunnerOptions base) {
  base.context = options.max_model_len;
  base.sequences = options.max_num_seqs;
  base.chunk = options.max_num_batched_tokens;
  base.cache_tokens = 1;  // rounded up to one sequence
  return base;
}

Result<std::uint64_t> kv_blocks_that_fit(const EngineOptions& o, std::uint64_t context, std::uint64_t block_bytes,
                                         std::uint64_t free_bytes) {
  const double share = o.gpu_memory_utilization.value_or(kDefaultUtilization);
  const auto part = share >= 1 ? free_bytes : static_cast<std::uint64_t>(static_cast<double>(free_bytes) * share);
  const std::uint64_t bytes = o.kv_memory.value_or(part);
  if (bytes > free_bytes) {
    return failure("kv_memory {}: only {} are free after the weights", human_bytes(bytes), human_bytes(free_bytes));
  }
  const std::uint64_t one = kv_blocks_for(context);
  const std::uint64_t blocks = bytes / block_bytes;
  if (blocks < one) {
    const std::string why = o.kv_memory
                                ? "kv_memory gives"
                                : fmt::format("gpu_memory_utilization {} of the {} that the weights leave gives", share,
                                              human_bytes(free_bytes));
    const std::string lower = blocks > 0 ? fmt::format("lower max_model_len to {} or ", blocks * kKvBlockTokens) : "";
    return failure("a sequence of {} tokens needs {} of KV cache, but {} {}: {}raise {}", context,
                   human_bytes(one * block_bytes), why, human_bytes(bytes), lower, o.kv_memory ? "it" : "the share");
  }
  const std::uint64_t most = o.max_num_seqs > std::numeric_limits<std::uint32_t>::max() ? blocks : o.max_num_seqs * one;
  return std::min({blocks, most, std::uint64_t{std::numeric_limits<std::int32_t>::max()}});
}

Status size_kv_cache(Runner& runner, const EngineOptions& options) {
  backend::KvShape one = runner.cache->shape();
  one.blocks = 1;
  runner.cache.reset();
  runner.cached.clear();
  OCTAVO_ASSIGN(const std::uint64_t blocks,
                kv_blocks_that_fit(options, runner.context, one.bytes(), available_memory()));
  OCTAVO_ASSIGN(runner.cache, runner.decoder->create_kv_cache(blocks, one.dtype, one.block_size));
  return {};
}

}  // namespace octavo::engine
