// One prompt to n continuations, streamed. Static batching: the n sequences share the prompt's cache blocks and decode
// together. (Continuous batching over many requests is the server's scheduler, later; it calls the same decoder.)
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/engine/runner.h"
#include "octavo/engine/sampler.h"

namespace octavo::engine {

struct GenerateRequest {
  std::vector<std::int32_t> prompt;  // not empty
  SamplingParams sampling;
  std::uint64_t max_tokens = 0;   // 0: up to the context
  std::uint64_t n = 1;            // continuations
  std::vector<std::string> stop;  // texts that end the output and are not part of it
  bool ignore_eos = false;
  bool skip_special = true;  // in the text; the ids always have them
  int logprobs = -1;         // -1: none; k >= 0: the chosen token's and the k most likely
};

enum class FinishReason : std::uint8_t { kStop, kLength };  // an end token or stop text; max_tokens or the context
std::string_view finish_name(FinishReason reason);          // "stop", "length"

struct Completion {
  std::vector<std::int32_t> tokens;  // the end token included
  std::string text;
  FinishReason finish = FinishReason::kLength;
  std::vector<Sample> samples;  // one a token, with logprobs >= 0
};

struct GenerateResult {
  std::vector<Completion> completions;  // n
  std::uint64_t prompt_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  std::uint64_t decode_steps = 0, decoded_tokens = 0;
};

// Called with new text of continuation `index` as it comes, whole characters only, never text that a stop text may yet
// take back. Returning false ends the run (finish = kStop).
using TextSink = std::function<bool(std::uint64_t index, std::string_view text)>;

Result<GenerateResult> generate(Runner& runner, const GenerateRequest& request, const TextSink& sink);

}  // namespace octavo::engine
