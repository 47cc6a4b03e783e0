// From logits to a token: penalties, temperature, top-k, top-p, min-p, and a generator of its own a request.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "octavo/base/status.h"

namespace octavo::engine {

// Names and meanings are vLLM's SamplingParams.
struct SamplingParams {
  double temperature = 1;         // 0: the most likely token
  std::int64_t top_k = 0;         // 0 or -1: all
  double top_p = 1;               // (0, 1]
  double min_p = 0;               // [0, 1]: of the most likely token's probability
  double repetition_penalty = 1;  // > 0; over prompt and output
  std::uint64_t seed = 0;
};
// A usage error that names the value.
Status check_sampling(const SamplingParams& params);

struct TokenLogprob {
  std::int32_t token = 0;
  float logprob = 0;  // natural logarithm, of the model's distribution before temperature and cuts
  std::int32_t rank = 1;
};

struct Sample {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  // the most likely ones, best first; ties by smaller id
};

// One a request. Deterministic: the i-th token of a request depends on the logits, the parameters, the seed, `stream`
// and i alone, not on the batch nor on the machine's random device.
class Sampler {
 public:
  Sampler(const SamplingParams& params, std::uint64_t stream) : params_(params), stream_(stream) {}
  // `history`: prompt and output so far. `top`: how many of the most likely to report.
  Sample sample(std::span<const float> logits, std::span<const std::int32_t> history, std::uint64_t index, int top);

 private:
  SamplingParams params_;
  std::uint64_t stream_;  // the index among --n
  std::vector<float> work_;
  std::vector<std::int32_t> order_;
};

}  // namespace octavo::engine
