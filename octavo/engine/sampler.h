// From logits to a token: penalty, temperature, min-p, top-k, top-p, and one random number a token.
//
// Names, meanings and order are vLLM's (v1/sample/sampler.py): before min_tokens no token that would end the output;
// logit bias; repetition, frequency and presence penalty; at temperature 0 the most likely token; else logits /
// temperature, min-p, top-k, top-p, each over what the one before left. Reported logprobs and ranks are of the model's
// own distribution, before all of this ("raw_logprobs"), or after it ("processed_logprobs"). Where vLLM leaves ties
// open, the smaller id wins; top-k keeps every token that is as likely as the k-th, as vLLM does.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "octavo/base/status.h"

namespace octavo::engine {

struct SamplingParams {
  double temperature = 1;         // 0 (or below kGreedyTemperature): the most likely token
  std::int64_t top_k = 0;         // 0 or -1: all
  double top_p = 1;               // (0, 1]
  double min_p = 0;               // [0, 1]: of the most likely token's probability
  double repetition_penalty = 1;  // > 0; over prompt and output
  double frequency_penalty = 0;   // [-2, 2]: taken from a logit for every time the token stands in the output
  double presence_penalty = 0;    // [-2, 2]: taken once, if it stands there at all
  std::vector<std::pair<std::int32_t, double>> logit_bias = {};  // added; each id once, inside the vocabulary
  std::uint64_t min_tokens = 0;                      // output tokens before one that ends the output may come
  std::vector<std::int32_t> stop_token_ids = {};     // end the output, as the model's end tokens do
  std::optional<std::uint64_t> seed = std::nullopt;  // nullopt: 0 (the engine draws one for each request)
};
inline constexpr double kGreedyTemperature = 1e-5;

// Of which distribution logprobs and ranks are reported.
enum class LogprobsMode : std::uint8_t {
  kRaw,        // the model's own: log softmax of its logits
  kTempered,   // log softmax of logits / temperature with penalties, bias and masks in them, before min-p, top-k and
               // top-p; at temperature 0 of the logits whose largest is taken. What SGLang reports
  kProcessed,  // the one the token is drawn from; at temperature 0 as kTempered
};

// A usage error that names the parameter as it is called here ("top_p 2: must be ...") and the value.
Status check_sampling(const SamplingParams& params);
// Whether the logprobs of this mode are the model's own with these parameters: nothing is penalized, biased or masked,
// and the temperature is 0 or 1; for processed ones nothing is cut either, where the temperature is 1.
bool reports_raw(const SamplingParams& params, LogprobsMode mode);

struct TokenLogprob {
  std::int32_t token = 0;
  float logprob = 0;  // natural logarithm
  std::int32_t rank = 1;

  friend bool operator==(const TokenLogprob&, const TokenLogprob&) = default;
};

struct Sample {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  // the most likely ones, best first; ties by smaller id
};

// Puts a logprob and a rank that were computed elsewhere in place of the sample's own, in `top` too.
void set_chosen_logprob(Sample& sample, float logprob, std::int32_t rank);

// log(sum(exp(logits))), in FP64 and in order of the ids. NaN when a logit is NaN or +infinity.
double log_sum_exp(std::span<const float> logits);
// 1 + the number of larger logits.
std::int32_t rank_of(std::span<const float> logits, std::int32_t token);
// The `count` most likely tokens (fewer in a smaller vocabulary), best first; ties by smaller id, with
// equal ranks. `normalizer`: log_sum_exp(logits). No logit is NaN.
std::vector<TokenLogprob> most_likely(std::span<const float> logits, std::size_t count, double normalizer);

// What a call of Sampler::sample needs for a while; a megabyte or two with a large vocabulary, so that whoever has many
// samplers gives them one for each thread.
struct SamplerScratch {
  std::vector<float> adjusted;        // [vocab]
  std::vector<std::int32_t> seen;     // ids of the history, sorted
  std::vector<std::int32_t> kept;     // ids that may be drawn
  std::vector<double> probabilities;  // of `kept`, not normalized
  double largest = 0, total = 0;      // the score that they are relative to, and their sum
};

// One a request. Deterministic: the i-th token of a request depends on the logits, the parameters, the seed, `stream`
// and i alone, not on the batch nor on the machine's random device. One thread at a time.
class Sampler {
 public:
  // `end_tokens`: of the model; as params.stop_token_ids they may not come before min_tokens.
  Sampler(SamplingParams params, std::uint64_t stream, std::span<const std::int32_t> end_tokens = {});

  // `history`: prompt and output so far, ids inside the vocabulary; its last `index` tokens (all where it has fewer)
  // are the output. `top` < 0: neither logprob nor rank is reported (0 and 1 stand there); k >= 0: both, and the k most
  // likely; processed ones only of tokens that can be drawn. A failure where a logit is NaN or +infinity, and where
  // no token is left to draw.
  Result<Sample> sample(std::span<const float> logits, std::span<const std::int32_t> history, std::uint64_t index,
                        int top, LogprobsMode mode = LogprobsMode::kRaw, SamplerScratch* scratch = nullptr);

 private:
  std::span<const float> adjusted(std::span<const float> logits, std::span<const std::int32_t> history,
                                  std::uint64_t index);
  void penalize(std::span<const std::int32_t> history, std::uint64_t index);
  std::int32_t draw(std::span<const float> scores, float largest, std::uint64_t index);
  void report_tempered(std::span<const float> scores, float largest, std::size_t top, Sample& sample);
  void report_processed(std::span<const float> scores, std::size_t top, Sample& sample);

  SamplingParams params_;
  std::uint64_t stream_;              // the number of the continuation among --n
  std::vector<std::int32_t> ending_;  // tokens that may not come before min_tokens
  SamplerScratch own_;                // used where the caller gives none
  SamplerScratch* work_ = nullptr;    // of the call
};

}  // namespace octavo::engine
