// What an engine counted, as plain data: a snapshot that /metrics prints (names beside the fields are vLLM's).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace octavo::engine {

// counts[i]: observations <= bounds[i] and above bounds[i - 1]; the last one: beyond all bounds.
struct Histogram {
  explicit Histogram(std::span<const double> upper_bounds)
      : bounds(upper_bounds.begin(), upper_bounds.end()), counts(bounds.size() + 1) {}
  void observe(double value);

  std::vector<double> bounds;  // ascending
  std::vector<std::uint64_t> counts;
  double sum = 0;
  std::uint64_t count = 0;
};

struct EngineMetrics {
  EngineMetrics();

  std::uint64_t running = 0, waiting = 0;  // vllm:num_requests_running, _waiting; of continuations
  std::uint64_t kv_blocks = 0, kv_blocks_used = 0;
  double kv_usage() const;                                 // vllm:kv_cache_usage_perc, 0 to 1
  std::uint64_t prefix_queries = 0, prefix_hits = 0;       // vllm:prefix_cache_queries, _hits; tokens
  std::uint64_t prompt_tokens = 0, generation_tokens = 0;  // vllm:prompt_tokens, vllm:generation_tokens
  std::uint64_t preemptions = 0;                           // vllm:num_preemptions
  std::uint64_t steps = 0, step_tokens = 0;
  std::array<std::uint64_t, 3> finished = {};  // vllm:request_success by finished_reason; indexed by FinishReason
  std::uint64_t weight_version = 0;
  std::uint64_t weight_updates = 0;
  Histogram time_to_first_token;  // vllm:time_to_first_token_seconds
  Histogram inter_token_latency;  // vllm:inter_token_latency_seconds
  Histogram e2e_latency;          // vllm:e2e_request_latency_seconds; of requests
  Histogram queue_time;           // vllm:request_queue_time_seconds; until the first admission
};

}  // namespace octavo::engine
