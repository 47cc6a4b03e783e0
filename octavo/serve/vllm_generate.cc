// vLLM's /inference/v1/generate: token ids in, token ids out, with logprobs by id; for trainers that keep the text out
// of it. And /inference/v1/abort_requests.
#include <algorithm>

#include "octavo/serve/generation.h"
#include "octavo/serve/openai_json.h"
#include "octavo/serve/openai_request.h"
#include "octavo/serve/routes.h"

namespace octavo::serve {
namespace {

constexpr std::uint64_t kDefaultMaxTokens = 16;                // of vLLM's SamplingParams
constexpr std::string_view kAbortPrefix = "generate-tokens-";  // of a request's name in abort_requests

struct TokensRequest {
  engine::Request base;
  std::string id;
  bool stream = false;
};

// vLLM's SamplingParams, with its own defaults: the model's generation_config.json has no say here.
Status read_sampling(const Json& object, engine::Request& out) {
  if (!object.is_object()) return usage_error("sampling_params: must be an object");
  engine::SamplingParams& s = out.sampling;
  FieldReader f(object, "sampling_params.");
  f.read("max_tokens", out.max_tokens);
  read_distribution(f, s);
  f.read("min_tokens", s.min_tokens);
  f.read("n", out.n);
  f.strings("stop", out.stop);
  f.tokens("stop_token_ids", s.stop_token_ids);
  f.read("ignore_eos", out.ignore_eos);
  f.read("include_stop_str_in_output", out.include_stop_in_output);
  f.read("skip_special_tokens", out.skip_special_tokens);
  f.biases("logit_bias", s.logit_bias);
  read_seed(f, s);
  f.read("logprobs", out.logprobs);
  if (std::optional<int> top; f.read("prompt_logprobs", top), top) {
    out.prompt_logprobs = engine::PromptLogprobsOptions{.start = 0, .top = *top};
  }
  for (const char* name : {"structured_outputs", "bad_words", "allowed_token_ids", "logits_processors", "extra_args",
                           "logprob_token_ids"}) {
    f.refuse(name, "is not offered");
  }
  f.refuse("max_new_tokens", "is called max_tokens here");
  f.ignore({"detokenize", "spaces_between_special_tokens", "output_kind", "skip_clone", "flat_logprobs"});
  OCTAVO_TRY(f.finish());
  out.detokenize = !out.stop.empty();  // only stop texts need it
  return {};
}

Result<TokensRequest> read_request(const Json& body, const std::string& id) {
  TokensRequest out;
  FieldReader f(body);
  if (f.get("token_ids") == nullptr) f.fail("token_ids", "is missing");
  f.tokens("token_ids", out.base.prompt);
  f.read("request_id", out.id);
  f.read("stream", out.stream);
  f.read("cache_salt", out.base.cache_salt);
  f.read("priority", out.base.priority);
  const Json* sampling = f.get("sampling_params");
  f.only("output_mode", "tokens", "only \"tokens\" is offered; /v1/completions gives text");
  f.refuse("features", "is not offered: only text models run here");
  f.refuse("content_parts", "is not offered: only text models run here");
  f.refuse("kv_transfer_params", "is not offered");
  f.ignore({"model", "return_token_ids", "stream_options"});
  OCTAVO_TRY(f.finish());
  out.base.max_tokens = kDefaultMaxTokens;
  if (sampling != nullptr) OCTAVO_TRY(read_sampling(*sampling, out.base));
  if (out.stream && out.base.prompt_logprobs) return usage_error("prompt_logprobs: cannot be streamed");
  if (out.id.empty()) out.id = id;
  OCTAVO_TRY(Generation::check_count(1, out.base.n));
  return out;
}

Json token_json(const engine::TokenLogprob& t) {
  return {{"token_id", t.token}, {"logprob", json_logprob(t.logprob)}, {"rank", t.rank}};
}

Json logprobs_json(const std::vector<engine::Sample>& samples) {
  Json content = Json::array();
  for (const engine::Sample& sample : samples) {
    Json entry = token_json(sample.chosen);
    Json top = Json::array();
    for (const engine::TokenLogprob& t : sample.top) top.push_back(token_json(t));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}};
}

Json choice(const TokensRequest& r, const engine::Event& event) {
  return {{"index", event.index},
          {"token_ids", event.tokens},
          {"logprobs", r.base.logprobs ? logprobs_json(event.logprobs) : Json()},
          {"finish_reason", finish_json(event)},
          {"stop_reason", stop_reason_json(event)},
          {"weight_versions", versions_json(event.versions)}};
}

Reply whole(const ServeContext& context, const TokensRequest& r, std::vector<GenerationEvent> events) {
  std::sort(events.begin(), events.end(),
            [](const GenerationEvent& a, const GenerationEvent& b) { return a.event.index < b.event.index; });
  Json choices = Json::array(), prompt;
  for (const GenerationEvent& e : events) {
    if (e.event.failed) return Reply::error(500, e.event.error);
    choices.push_back(choice(r, e.event));
    if (e.event.prompt_logprobs) prompt = prompt_logprobs_json(context.model, *e.event.prompt_logprobs);
  }
  return Reply::json({{"request_id", r.id}, {"choices", std::move(choices)}, {"prompt_logprobs", std::move(prompt)}});
}

// Each piece has the tokens since the last one.
void stream(Exchange& x, const TokensRequest& r, Generation& generation) {
  if (!x.begin_stream(200, kSseType).ok()) return;
  for (;;) {
    const auto events = generation.next(x);
    if (!events) return;
    if (events->empty()) break;
    std::string text;
    for (const auto& [unused, event] : *events) {
      text += event.failed ? sse(Json::parse(Reply::error(500, event.error).body))
                           : sse({{"request_id", r.id}, {"choices", Json::array({choice(r, event)})}});
    }
    if (!x.write(text).ok()) return;
  }
  static_cast<void>(x.write(kSseDone));
}

void generate(Exchange& x, ServeContext& context) {
  const std::optional<Json> body = read_json_object(x);
  if (!body) return;
  const auto refuse = [&](const Reply& reply) { static_cast<void>(x.reply(reply)); };
  if (const auto reply = check_request(context, "")) return refuse(*reply);
  const Result<TokensRequest> request = read_request(*body, x.head().id);
  if (!request.ok()) return refuse(Reply::error(400, request.error()));
  Generation generation(context, request->stream ? Generation::Wait::kEach : Generation::Wait::kAll);
  const Status status = generation.submit(request->base, {std::string(kAbortPrefix) + request->id});
  if (!status.ok()) return refuse(Reply::error(refusal_status(context), status.error()));
  if (request->stream) return stream(x, *request, generation);
  if (auto events = generation.next(x)) refuse(whole(context, *request, std::move(*events)));
}

void abort_requests(Exchange& x, ServeContext& context) {
  const std::optional<Json> body = read_json_object(x);
  if (!body) return;
  std::vector<std::string> names;
  FieldReader f(*body);
  if (f.get("request_ids") == nullptr) f.fail("request_ids", "is missing");
  f.strings("request_ids", names);
  if (const Status status = f.finish(); !status.ok()) {
    return static_cast<void>(x.reply(Reply::error(400, status.error())));
  }
  for (const std::string& name : names) {
    for (const engine::RequestId id : context.names.exactly(name)) context.engine.abort(id);
  }
  static_cast<void>(x.reply(Reply::empty()));
}

}  // namespace

void add_token_routes(RouteTable& table, ServeContext& context) {
  table.add("POST", "/inference/v1/generate", [&context](Exchange& x) { generate(x, context); });
  table.add("POST", "/inference/v1/abort_requests", [&context](Exchange& x) { abort_requests(x, context); });
}

}  // namespace octavo::serve
