// /v1/chat/completions: messages through the model's own template, whole or streamed.
#include <algorithm>
#include <ctime>

#include "octavo/serve/chat_messages.h"
#include "octavo/serve/generation.h"
#include "octavo/serve/openai_json.h"
#include "octavo/serve/openai_request.h"
#include "octavo/serve/routes.h"

namespace octavo::serve {
namespace {

struct ChatRequest {
  OpenAiRequest common;
  ChatInput input;
};

Result<ChatRequest> read_request(const ServeContext& context, const Json& body) {
  ChatRequest out;
  engine::Request& base = out.common.base;
  FieldReader f(body);
  read_common_fields(f, context.model, out.common);
  out.common.add_special_tokens = false;  // the template writes them
  f.read("add_special_tokens", out.common.add_special_tokens);
  f.read("max_tokens", base.max_tokens);
  f.read("max_completion_tokens", base.max_tokens);
  if (base.max_tokens == 0) f.fail("max_tokens", "must be 1 or more");
  bool logprobs = false;
  std::optional<int> top;
  f.read("logprobs", logprobs);
  f.read("top_logprobs", top);
  if (top && *top != 0 && !logprobs) f.fail("top_logprobs", "goes with \"logprobs\": true");
  if (logprobs) base.logprobs = top.value_or(0);
  f.only("response_format", {{"type", "text"}},
         "only {\"type\": \"text\"} is offered: no output is forced into a form; ask for JSON in the prompt");
  f.refuse("echo", "is of /v1/completions");
  f.refuse("audio", "only text is produced");
  f.only("modalities", Json::array({"text"}), "only text is produced");
  f.refuse("prediction", "is not offered");
  f.refuse("web_search_options", "is not offered");
  f.ignore({"verbosity"});
  out.input = read_chat_input(f);
  OCTAVO_TRY(f.finish());
  return out;
}

class Chat {
 public:
  Chat(Exchange& x, ServeContext& context, const ChatRequest& request, std::vector<std::int32_t> prompt)
      : x_(x), context_(context), r_(request.common), prompt_(std::move(prompt)) {
    id_ = "chatcmpl-" + (r_.request_id.empty() ? x.head().id : r_.request_id);
  }

  void run() {
    engine::Request one = r_.base;
    one.prompt = prompt_;
    Generation generation(context_, r_.stream ? Generation::Wait::kEach : Generation::Wait::kAll);
    const Status status = generation.submit(std::move(one), {id_});
    if (!status.ok()) {
      static_cast<void>(x_.reply(Reply::error(refusal_status(context_), status.error())));
    } else if (r_.stream) {
      stream(generation);
    } else if (auto events = generation.next(x_)) {
      static_cast<void>(x_.reply(whole(std::move(*events))));
    }
  }

 private:
  Json head(const char* object) const {
    return {{"id", id_},
            {"object", object},
            {"created", created_},
            {"model", r_.model.empty() ? context_.model.names.front() : r_.model}};
  }
  Json choice(const engine::Event& event, const char* key, Json content) const {
    Json out = {{"index", event.index}};
    out[key] = std::move(content);
    out["logprobs"] = r_.base.logprobs ? chat_logprobs_json(context_.model, event.logprobs, r_.tokens_as_ids) : Json();
    out["finish_reason"] = finish_json(event);
    out["stop_reason"] = stop_reason_json(event);
    if (r_.return_token_ids) {
      out["token_ids"] = event.tokens;
      out["weight_versions"] = versions_json(event.versions);
    }
    return out;
  }

  Reply whole(std::vector<GenerationEvent> events) const {
    std::sort(events.begin(), events.end(),
              [](const GenerationEvent& a, const GenerationEvent& b) { return a.event.index < b.event.index; });
    Json out = head("chat.completion");
    Json choices = Json::array();
    UsageSum usage;
    Json prompt_logprobs;
    for (const auto& [unused, event] : events) {
      if (event.failed) return Reply::error(500, event.error);
      choices.push_back(choice(event, "message", {{"role", "assistant"}, {"content", event.text}}));
      if (event.index == 0) usage.add_prompt(event.usage);
      usage.completion += event.usage.completion_tokens;
      if (event.prompt_logprobs) prompt_logprobs = prompt_logprobs_json(context_.model, *event.prompt_logprobs);
    }
    out["choices"] = std::move(choices);
    out["usage"] = usage.json();
    out["prompt_logprobs"] = std::move(prompt_logprobs);
    if (r_.return_token_ids) out["prompt_token_ids"] = prompt_;
    return Reply::json(out);
  }

  void stream(Generation& generation) {
    if (!x_.begin_stream(200, kSseType).ok()) return;
    UsageSum usage;
    std::vector<bool> begun(static_cast<std::size_t>(r_.base.n));
    const Json start = head("chat.completion.chunk");
    const auto piece = [&](Json choices) {
      Json out = start;
      out["choices"] = std::move(choices);
      if (r_.continuous_usage)
        out["usage"] = usage.json();
      else if (r_.include_usage)
        out["usage"] = nullptr;
      return out;
    };
    for (;;) {
      const auto events = generation.next(x_);
      if (!events) return;
      if (events->empty()) break;
      std::string text;
      for (const auto& [unused, event] : *events) {
        const auto index = static_cast<std::size_t>(event.index);
        if (!begun[index]) {
          begun[index] = true;
          if (index == 0) usage.add_prompt(event.usage);
          Json role = {{"index", index},
                       {"delta", {{"role", "assistant"}, {"content", ""}}},
                       {"logprobs", nullptr},
                       {"finish_reason", nullptr}};
          Json first = piece(Json::array({std::move(role)}));
          if (r_.return_token_ids && index == 0) first["prompt_token_ids"] = prompt_;
          text += sse(first);
        }
        if (event.failed) {
          text += sse(Json::parse(Reply::error(500, event.error).body));
          continue;
        }
        usage.completion += event.tokens.size();
        Json delta = Json::object();
        if (!event.text.empty() || !event.finished) delta["content"] = event.text;
        text += sse(piece(Json::array({choice(event, "delta", std::move(delta))})));
      }
      if (!x_.write(text).ok()) return;
    }
    std::string end;
    if (r_.include_usage) {
      Json last = piece(Json::array());
      last["usage"] = usage.json();
      end = sse(last);
    }
    static_cast<void>(x_.write(end + std::string(kSseDone)));
  }

  Exchange& x_;
  ServeContext& context_;
  const OpenAiRequest& r_;
  std::vector<std::int32_t> prompt_;
  std::string id_;
  std::int64_t created_ = static_cast<std::int64_t>(::time(nullptr));
};

void chat(Exchange& x, ServeContext& context) {
  const std::optional<Json> body = read_json_object(x);
  if (!body) return;
  const auto refuse = [&](const Reply& reply) { static_cast<void>(x.reply(reply)); };
  Result<ChatRequest> request = read_request(context, *body);
  if (!request.ok()) return refuse(Reply::error(400, request.error()));
  if (const auto reply = check_request(context, request->common.model)) return refuse(*reply);
  Result<std::string> text = render_chat(context, std::move(request->input));
  if (!text.ok()) return refuse(Reply::error(400, text.error()));
  Result<std::vector<std::int32_t>> prompt = encode_prompt(context, *text, request->common);
  if (!prompt.ok()) return refuse(Reply::error(400, prompt.error()));
  Chat(x, context, *request, std::move(*prompt)).run();
}

}  // namespace

void add_chat_routes(RouteTable& table, ServeContext& context) {
  table.add("POST", "/v1/chat/completions", [&context](Exchange& x) { chat(x, context); });
}

}  // namespace octavo::serve
