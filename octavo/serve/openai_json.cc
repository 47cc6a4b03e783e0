// Logprobs, usage and events in OpenAI's and vLLM's shapes.
#include "octavo/serve/openai_json.h"

#include <algorithm>
#include <cmath>

namespace octavo::serve {
namespace {

std::uint64_t code_points(std::string_view text) {
  return static_cast<std::uint64_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

Json chat_token(const ServedModel& model, const engine::TokenLogprob& t, bool as_id) {
  const std::string text = token_text(model, t.token, as_id);
  Json bytes = Json::array();
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", text}, {"logprob", json_logprob(t.logprob)}, {"bytes", std::move(bytes)}};
}

}  // namespace

std::string token_text(const ServedModel& model, std::int32_t token, bool as_id) {
  if (as_id) return fmt::format("token_id:{}", token);
  if (!model.tokenizer) return "";
  const auto text = model.tokenizer->decode(std::span(&token, 1), /*skip_special=*/false);
  return text.ok() ? *text : "";
}

double json_logprob(float logprob) {
  constexpr double kLeast = -9999;
  return std::isnan(logprob) ? kLeast : std::max<double>(logprob, kLeast);
}

Json finish_json(const engine::Event& event) {
  return event.finished ? Json(engine::finish_name(event.reason)) : Json();
}

Json stop_reason_json(const engine::Event& event) {
  if (!event.finished || event.reason != engine::FinishReason::kStop) return nullptr;
  if (event.stop_text) return *event.stop_text;
  if (event.stop_token && !event.end_token) return *event.stop_token;
  return nullptr;
}

void UsageSum::add_prompt(const engine::Usage& usage) {
  prompt += usage.prompt_tokens;
  cached += usage.cached_tokens;
}

Json UsageSum::json() const {
  return {{"prompt_tokens", prompt},
          {"total_tokens", prompt + completion},
          {"completion_tokens", completion},
          {"prompt_tokens_details", {{"cached_tokens", cached}}}};
}

void CompletionLogprobs::add_token(std::string text) {
  offsets_.push_back(offset_);
  offset_ += code_points(text);
  tokens_.push_back(std::move(text));
}

void CompletionLogprobs::add_first(std::int32_t token) {
  add_token(token_text(*model_, token, as_id_));
  logprobs_.push_back(nullptr);
  top_.push_back(nullptr);
}

void CompletionLogprobs::add(const engine::Sample& sample) {
  add_token(token_text(*model_, sample.chosen.token, as_id_));
  logprobs_.push_back(json_logprob(sample.chosen.logprob));
  // Different tokens may have one text (parts of a character): the most likely one stands there.
  Json top = Json::object();
  const auto put = [&](const engine::TokenLogprob& t) {
    std::string text = token_text(*model_, t.token, as_id_);
    if (!top.contains(text)) top[std::move(text)] = json_logprob(t.logprob);
  };
  for (const engine::TokenLogprob& t : sample.top) put(t);
  put(sample.chosen);
  top_.push_back(std::move(top));
}

Json CompletionLogprobs::take() {
  Json out = {{"tokens", std::move(tokens_)},
              {"token_logprobs", std::move(logprobs_)},
              {"top_logprobs", std::move(top_)},
              {"text_offset", std::move(offsets_)}};
  tokens_ = logprobs_ = top_ = offsets_ = Json::array();
  return out;
}

Json chat_logprobs_json(const ServedModel& model, std::span<const engine::Sample> samples, bool as_id) {
  Json content = Json::array();
  for (const engine::Sample& sample : samples) {
    Json entry = chat_token(model, sample.chosen, as_id);
    Json top = Json::array();
    for (const engine::TokenLogprob& t : sample.top) top.push_back(chat_token(model, t, as_id));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}};
}

Json prompt_logprobs_json(const ServedModel& model, const engine::PromptLogprobs& logprobs) {
  Json out = Json::array();
  for (std::uint64_t i = 0; i < logprobs.start; ++i) out.push_back(nullptr);
  for (const engine::Sample& sample : logprobs.entries) {
    Json entry = Json::object();
    const auto put = [&](const engine::TokenLogprob& t) {
      entry[std::to_string(t.token)] = {
          {"logprob", json_logprob(t.logprob)}, {"rank", t.rank}, {"decoded_token", token_text(model, t.token)}};
    };
    put(sample.chosen);
    for (const engine::TokenLogprob& t : sample.top) put(t);
    out.push_back(std::move(entry));
  }
  return out;
}

Json versions_json(std::span<const engine::VersionSpan> versions) {
  Json out = Json::array();
  for (const engine::VersionSpan& v : versions) {
    out.push_back({{"version", v.label}, {"start", v.start}, {"end", v.end}});
  }
  return out;
}

std::string sse(const Json& value) {
  return "data: " + value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n\n";
}

}  // namespace octavo::serve
