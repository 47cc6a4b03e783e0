// One prompt to n continuations, streamed. Static batching: the n sequences share the prompt's cache blocks and decode
// together. (Continuous batching over many requests: engine.h, which calls the same decoder.)
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/engine/finish.h"
#include "octavo/engine/runner.h"
#include "octavo/engine/sampler.h"

namespace octavo::engine {

struct GenerateRequest {
  std::vector<std::int32_t> prompt;  // not empty, shorter than the context
  SamplingParams sampling;
  std::uint64_t max_tokens = 0;     // 0: up to the context
  std::uint64_t n = 1;              // continuations; number i draws from stream i of the seed
  std::vector<std::string> stop;    // texts that end the output and are not part of it
  bool ignore_eos = false;          // end tokens are tokens like others
  bool skip_special = true;         // in the text; the ids always have them
  int logprobs = -1;                // -1: none; k >= 0: the chosen token's and the k most likely
  std::function<bool()> cancelled;  // asked between steps, from the calling thread; empty: never
};

struct Completion {
  std::vector<std::int32_t> tokens;  // the end token included
  std::string text;                  // valid UTF-8; "" where the runner has no tokenizer
  FinishReason finish = FinishReason::kLength;
  std::vector<Sample> samples;  // one a token, with logprobs >= 0
};

struct GenerateResult {
  std::vector<Completion> completions;  // n
  std::uint64_t prompt_tokens = 0;
  std::uint64_t reused_tokens = 0;  // of them, found in the cache
  double prefill_seconds = 0;       // up to the first token
  double decode_seconds = 0;        // the rest
  std::uint64_t decode_steps = 0, decoded_tokens = 0;

  double prefill_rate() const;  // tokens a second, without the reused
  double decode_rate() const;   // tokens a second, all continuations together
};

// Called with new text of continuation `index` as it comes: whole characters only, never text that a stop text may yet
// take back. May be empty.
using TextSink = std::function<void(std::uint64_t index, std::string_view text)>;

// Tokens that the cache must have room for to run `n` continuations of at most `length` tokens, prompt included.
std::uint64_t cache_tokens(std::uint64_t prompt, std::uint64_t length, std::uint64_t n);

// Failures: an empty prompt, one that leaves no room in the context, a cache too small for n, sampling parameters out
// of range, a token outside the vocabulary, logits that are not finite. Tokens, text and logprobs do not depend on
// what the cache held before, on chunk, n or threads.
Result<GenerateResult> generate(Runner& runner, const GenerateRequest& request, const TextSink& sink);

}  // namespace octavo::engine
