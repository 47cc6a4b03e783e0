// Parts of the OpenAI routes' answers.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "octavo/engine/request.h"
#include "octavo/serve/router.h"
#include "octavo/serve/serve_context.h"

namespace octavo::serve {

// A token as text of its own, "" where it has none; "token_id:7" where `as_id`.
std::string token_text(const ServedModel& model, std::int32_t token, bool as_id = false);
// A logprob as JSON takes it: what is no number or below -9999 is -9999, as in vLLM.
double json_logprob(float logprob);

// "stop", "length" or "abort"; and which stop text or token it was, null for the model's own end token.
Json finish_json(const engine::Event& event);
Json stop_reason_json(const engine::Event& event);

// Prompts are counted once, however many continuations they have.
struct UsageSum {
  std::uint64_t prompt = 0, cached = 0, completion = 0;
  void add_prompt(const engine::Usage& usage);
  Json json() const;
};

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of /v1/completions.
class CompletionLogprobs {
 public:
  CompletionLogprobs(const ServedModel& model, bool as_id) : model_(&model), as_id_(as_id) {}
  void add_first(std::int32_t token);  // of a prompt: it has no logprob
  void add(const engine::Sample& sample);
  Json take();  // what was added since the last time; offsets go on

 private:
  void add_token(std::string text);
  const ServedModel* model_;
  bool as_id_;
  std::uint64_t offset_ = 0;  // code points
  Json tokens_ = Json::array(), logprobs_ = Json::array(), top_ = Json::array(), offsets_ = Json::array();
};

// {"content": [{"token", "logprob", "bytes", "top_logprobs"}]} of /v1/chat/completions.
Json chat_logprobs_json(const ServedModel& model, std::span<const engine::Sample> samples, bool as_id);

// vLLM's prompt_logprobs: [null, {"id": {"logprob", "rank", "decoded_token"}}, ...].
Json prompt_logprobs_json(const ServedModel& model, const engine::PromptLogprobs& logprobs);

// [{"version", "start", "end"}]
Json versions_json(std::span<const engine::VersionSpan> versions);

// "data: {...}\n\n"
std::string sse(const Json& value);
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSseType = "text/event-stream; charset=utf-8";

}  // namespace octavo::serve
