// What a client asks of the engine, and what it hears: a Request goes in, Events come out.
//
// Names and meanings are vLLM's (SamplingParams, RequestOutput) where vLLM has them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "octavo/engine/finish.h"
#include "octavo/engine/sampler.h"

namespace octavo::engine {

// Given by the engine, never given twice. A server keeps its clients' own names (rid, request_id) beside it.
using RequestId = std::uint64_t;

// Logprobs of the prompt's tokens, each given those before it, as score() reports them (raw, to the last bit).
struct PromptLogprobsOptions {
  std::uint64_t start = 0;  // first position reported; 0 is 1, as nothing stands before the first token
  int top = 0;              // the k most likely beside the token's own
};

struct Request {
  std::vector<std::int32_t> prompt;  // not empty, ids inside the vocabulary
  SamplingParams sampling;
  // Output tokens; 0: none (the prompt is computed, for prompt_logprobs); nullopt: up to the context.
  std::optional<std::uint64_t> max_tokens;
  std::uint64_t n = 1;                  // continuations; number i draws from stream i of the seed
  std::vector<std::string> stop;        // texts that end the output, none empty
  bool include_stop_in_output = false;  // the text keeps the stop text, or the stop token's text (SGLang: no_stop_trim)
  bool ignore_eos = false;              // end tokens are tokens like others; sampling.stop_token_ids still end it
  bool skip_special_tokens = true;      // in the text; the ids always have them
  bool detokenize = true;               // false: no text, and no stop texts
  std::optional<int> logprobs;          // k >= 0: of each output token, and the k most likely. nullopt: none
  LogprobsMode logprobs_mode = LogprobsMode::kRaw;
  std::optional<PromptLogprobsOptions> prompt_logprobs;
  int priority = 0;        // lower is earlier
  std::string cache_salt;  // prefixes are shared only among requests of one salt (vLLM: cache_salt, SGLang: extra_key)
};

struct Usage {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t cached_tokens = 0;      // of the prompt, found in the cache when this continuation was admitted first
  std::uint64_t completion_tokens = 0;  // of this continuation, so far
  std::uint64_t preemptions = 0;        // how often it went back to the queue (SGLang: num_retractions)
};

// Output tokens [start, end) were sampled from logits of weight version `number`.
struct VersionSpan {
  std::uint64_t number = 0;
  std::string label;
  std::uint64_t start = 0, end = 0;

  friend bool operator==(const VersionSpan&, const VersionSpan&) = default;
};

struct PromptLogprobs {
  std::uint64_t start = 1;      // position of the first entry
  std::vector<Sample> entries;  // of prompt[start, prompt.size())
};

// What a continuation produced since its last event. The tokens of all its events, joined, are its output; so is text.
struct Event {
  RequestId id = 0;
  std::uint64_t index = 0;  // which of the n
  std::vector<std::int32_t> tokens;
  std::string text;  // whole characters; may lag behind the tokens, as what could become a stop text is held back
  std::vector<Sample> logprobs;                   // one a token, where they were asked for
  std::optional<PromptLogprobs> prompt_logprobs;  // once, in the first event of continuation 0
  Usage usage;
  std::vector<VersionSpan> versions;  // of all its tokens so far; empty before the first

  bool finished = false;      // the last event of this continuation
  bool all_finished = false;  // the last event of the request
  // With `finished`:
  FinishReason reason = FinishReason::kLength;
  std::optional<std::int32_t> stop_token;  // kStop by a token: an end token or one of sampling.stop_token_ids
  bool end_token = false;                  // it is an end token of the model that was not ignored
  std::optional<std::string> stop_text;    // kStop by a text: which
  std::string error;                       // kAbort: why, one sentence
  bool failed = false;                     // kAbort: the model failed; nobody asked for the end
};

// Called on the engine's thread, after the step that made the event. Must not block, must not throw; may call
// EngineThread::submit and abort. After all_finished it is not called again and is destroyed.
using EventSink = std::function<void(Event event)>;

}  // namespace octavo::engine
