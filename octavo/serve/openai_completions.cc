// /v1/completions: prompts as text or ids, whole or streamed.
#include <algorithm>
#include <ctime>

#include "octavo/base/text.h"
#include "octavo/serve/generation.h"
#include "octavo/serve/openai_json.h"
#include "octavo/serve/openai_request.h"
#include "octavo/serve/routes.h"

namespace octavo::serve {
namespace {

constexpr std::uint64_t kDefaultMaxTokens = 16;  // OpenAI's
constexpr std::size_t kMostPrompts = 4096;

struct Prompt {
  std::string text;  // with echo
  std::vector<std::int32_t> tokens;
};

struct CompletionRequest {
  OpenAiRequest common;
  std::vector<Prompt> prompts;
  bool echo = false;
  bool with_logprobs() const { return common.base.logprobs.has_value(); }
};

// A prompt: text, ids, or a list of either.
Result<std::vector<Prompt>> read_prompts(const ServeContext& context, const OpenAiRequest& request, const Json& value) {
  std::vector<Prompt> out;
  const auto take_ids = [&](std::vector<std::int32_t> ids) -> Status {
    truncate_prompt(context, request, ids);
    Prompt prompt{.text = "", .tokens = std::move(ids)};
    if (context.model.tokenizer) {
      auto text = context.model.tokenizer->decode(prompt.tokens, /*skip_special=*/false);
      if (text.ok()) prompt.text = std::move(*text);
    }
    out.push_back(std::move(prompt));
    return {};
  };
  const auto take_text = [&](const Json& text) -> Status {
    OCTAVO_ASSIGN(auto tokens, encode_prompt(context, text.get_ref<const std::string&>(), request));
    out.push_back({text.get<std::string>(), std::move(tokens)});
    return {};
  };
  if (value.is_string()) {
    OCTAVO_TRY(take_text(value));
    return out;
  }
  if (value.is_array() && !value.empty()) {
    if (value.front().is_number()) {
      if (auto ids = tokens_of(value)) {
        OCTAVO_TRY(take_ids(std::move(*ids)));
        return out;
      }
    } else {
      if (value.size() > kMostPrompts)
        return usage_error("prompt: {} prompts are more than {}", value.size(), kMostPrompts);
      for (const Json& item : value) {
        auto ids = tokens_of(item);
        if (!item.is_string() && !ids) return usage_error("prompt: an item is neither text nor a list of token ids");
        OCTAVO_TRY(ids ? take_ids(std::move(*ids)) : take_text(item));
      }
      return out;
    }
  }
  return usage_error("prompt: must be text, a list of token ids, or a list of either");
}

Result<CompletionRequest> read_request(const ServeContext& context, const Json& body) {
  CompletionRequest out;
  engine::Request& base = out.common.base;
  FieldReader f(body);
  read_common_fields(f, context.model, out.common);
  base.max_tokens = kDefaultMaxTokens;
  f.read("max_tokens", base.max_tokens);
  f.read("logprobs", base.logprobs);
  f.read("echo", out.echo);
  f.read("add_special_tokens", out.common.add_special_tokens);
  f.only("best_of", 1, "is not offered; ask for n outputs and choose");
  f.refuse("suffix", "text to fill in between is not offered; put it into the prompt");
  f.refuse("prompt_embeds", "is not offered; give text or token ids");
  f.only("response_format", {{"type", "text"}},
         "only {\"type\": \"text\"} is offered: no output is forced into a form");
  const Json* prompt = f.get("prompt");
  if (prompt == nullptr) f.fail("prompt", "is missing");
  if (out.echo && base.logprobs && !base.prompt_logprobs) {
    base.prompt_logprobs = engine::PromptLogprobsOptions{.start = 0, .top = *base.logprobs};
  }
  OCTAVO_TRY(f.finish());
  if (const std::uint64_t n = base.n; base.max_tokens == 0 && !out.echo && !base.prompt_logprobs && n > 0) {
    return usage_error("max_tokens 0: nothing would come of it, without echo or prompt_logprobs");
  }
  OCTAVO_ASSIGN(out.prompts, read_prompts(context, out.common, *prompt));
  OCTAVO_TRY(Generation::check_count(out.prompts.size(), base.n));
  return out;
}

// Makes choices of events; keeps what goes on from piece to piece.
class Choices {
 public:
  Choices(const ServeContext& context, const CompletionRequest& request) : context_(context), request_(request) {
    states_.resize(request.prompts.size() * static_cast<std::size_t>(request.common.base.n),
                   State{CompletionLogprobs(context.model, request.common.tokens_as_ids)});
  }

  Json make(GenerationEvent& e) {
    const CompletionRequest& r = request_;
    const Prompt& prompt = r.prompts[e.prompt];
    engine::Event& event = e.event;
    const std::size_t index = e.prompt * static_cast<std::size_t>(r.common.base.n) + event.index;
    State& state = states_[index];
    const bool first = !std::exchange(state.begun, true);
    if (first && event.index == 0) usage_.add_prompt(event.usage);
    usage_.completion += event.tokens.size();
    // Every continuation of a prompt repeats it; its logprobs came with the first.
    if (event.prompt_logprobs) prompt_logprobs_[e.prompt] = std::move(*event.prompt_logprobs);
    Json out = {{"index", index}};
    out["text"] = r.echo && first ? prompt.text + event.text : event.text;
    out["logprobs"] = nullptr;
    if (r.with_logprobs()) {
      if (r.echo && first) {
        state.logprobs.add_first(prompt.tokens.front());
        if (const auto at = prompt_logprobs_.find(e.prompt); at != prompt_logprobs_.end()) {
          for (const engine::Sample& sample : at->second.entries) state.logprobs.add(sample);
        }
      }
      for (const engine::Sample& sample : event.logprobs) state.logprobs.add(sample);
      out["logprobs"] = state.logprobs.take();
    }
    out["finish_reason"] = finish_json(event);
    out["stop_reason"] = stop_reason_json(event);
    if (!r.common.stream) {
      const auto at = prompt_logprobs_.find(e.prompt);
      out["prompt_logprobs"] = at == prompt_logprobs_.end() ? Json() : prompt_logprobs_json(context_.model, at->second);
    }
    if (r.common.return_token_ids) {
      if (first) out["prompt_token_ids"] = prompt.tokens;
      out["token_ids"] = event.tokens;
      out["weight_versions"] = versions_json(event.versions);
    }
    return out;
  }
  const UsageSum& usage() const { return usage_; }

 private:
  struct State {
    CompletionLogprobs logprobs;
    bool begun = false;
  };
  const ServeContext& context_;
  const CompletionRequest& request_;
  std::vector<State> states_;
  std::map<std::size_t, engine::PromptLogprobs> prompt_logprobs_;  // by prompt
  UsageSum usage_;
};

void stream(Exchange& x, ServeContext& context, const CompletionRequest& r, const Json& head, Generation& generation) {
  Choices choices(context, r);
  if (!x.begin_stream(200, kSseType).ok()) return;
  for (;;) {
    auto events = generation.next(x);
    if (!events) return;
    if (events->empty()) break;
    std::string text;
    for (GenerationEvent& e : *events) {
      if (e.event.failed) {
        text += sse(Json::parse(Reply::error(500, e.event.error).body));
        continue;
      }
      Json piece = head;
      piece["choices"] = Json::array({choices.make(e)});
      if (r.common.continuous_usage)
        piece["usage"] = choices.usage().json();
      else if (r.common.include_usage)
        piece["usage"] = nullptr;
      text += sse(piece);
    }
    if (!x.write(text).ok()) return;
  }
  std::string end;
  if (r.common.include_usage) {
    Json piece = head;
    piece["choices"] = Json::array();
    piece["usage"] = choices.usage().json();
    end += sse(piece);
  }
  static_cast<void>(x.write(end + std::string(kSseDone)));
}

Reply whole(const ServeContext& context, const CompletionRequest& r, Json head, std::vector<GenerationEvent> events) {
  std::sort(events.begin(), events.end(), [](const GenerationEvent& a, const GenerationEvent& b) {
    return std::pair(a.prompt, a.event.index) < std::pair(b.prompt, b.event.index);
  });
  Choices choices(context, r);
  Json list = Json::array();
  for (GenerationEvent& e : events) {
    if (e.event.failed) return Reply::error(500, e.event.error);
    list.push_back(choices.make(e));
  }
  head["choices"] = std::move(list);
  head["usage"] = choices.usage().json();
  return Reply::json(head);
}

void complete(Exchange& x, ServeContext& context) {
  const std::optional<Json> body = read_json_object(x);
  if (!body) return;
  const auto refuse = [&](const Reply& reply) { static_cast<void>(x.reply(reply)); };
  Result<CompletionRequest> request = read_request(context, *body);
  if (!request.ok()) return refuse(Reply::error(400, request.error()));
  const CompletionRequest& r = *request;
  if (const auto reply = check_request(context, r.common.model)) return refuse(*reply);

  const std::string id = "cmpl-" + (r.common.request_id.empty() ? x.head().id : r.common.request_id);
  Generation generation(context, r.common.stream ? Generation::Wait::kEach : Generation::Wait::kAll);
  for (const Prompt& prompt : r.prompts) {
    engine::Request one = r.common.base;
    one.prompt = prompt.tokens;
    const Status status = generation.submit(std::move(one), {id});
    if (!status.ok()) return refuse(Reply::error(refusal_status(context), status.error()));
  }
  const Json head = {{"id", id},
                     {"object", "text_completion"},
                     {"created", static_cast<std::int64_t>(::time(nullptr))},
                     {"model", r.common.model.empty() ? context.model.names.front() : r.common.model}};
  if (r.common.stream) return stream(x, context, r, head, generation);
  auto events = generation.next(x);
  if (events) refuse(whole(context, r, head, std::move(*events)));
}

}  // namespace

void add_completion_routes(RouteTable& table, ServeContext& context) {
  table.add("POST", "/v1/completions", [&context](Exchange& x) { complete(x, context); });
}

}  // namespace octavo::serve
