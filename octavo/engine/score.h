// Logprobs of given tokens: what a text costs a model. The base of perplexity.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "octavo/engine/runner.h"
#include "octavo/engine/sampler.h"

namespace octavo::engine {

// logprobs[i] and ranks[i] are of tokens[i] given tokens[0, i); entry 0 means nothing and is printed as null.
struct Scores {
  std::vector<float> logprobs;                 // natural logarithm
  std::vector<std::int32_t> ranks;             // 1 = most likely
  std::vector<std::vector<TokenLogprob>> top;  // per token, with `top` > 0; entry 0 is empty
};

// Called once for every sequence, in order, as soon as it is finished; an error ends the run.
using ScoreSink = std::function<Status(std::size_t index, Scores scores)>;

// Scores every sequence, packed into steps of at most runner.chunk tokens; the result of one does not depend on the
// others. An empty sequence gives empty scores. A sequence longer than the context, a token outside the vocabulary, or
// logits that are not finite are failures that name the sequence's index.
Status score(Runner& runner, std::span<const std::vector<std::int32_t>> sequences, int top, const ScoreSink& done);

}  // namespace octavo::engine
