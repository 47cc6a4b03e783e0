// /health, /version, /v1/models, /tokenize, /detokenize, and what is refused with a sentence.
#include "octavo/base/text.h"
#include "octavo/base/version.h"
#include "octavo/serve/chat_messages.h"
#include "octavo/serve/openai_json.h"
#include "octavo/serve/openai_request.h"
#include "octavo/serve/routes.h"

namespace octavo::serve {
namespace {

Json model_json(const ServeContext& context, const std::string& name) {
  const ServedModel& m = context.model;
  return {{"id", name},
          {"object", "model"},
          {"created", m.created},
          {"owned_by", "octavo"},
          {"root", m.path},
          {"parent", nullptr},
          {"max_model_len", context.engine.engine().max_model_len()}};
}

Reply models(const ServeContext& context) {
  Json list = Json::array();
  for (const std::string& name : context.model.names) list.push_back(model_json(context, name));
  return Reply::json({{"object", "list"}, {"data", std::move(list)}});
}

Reply one_model(const ServeContext& context, const std::string& name) {
  for (const std::string& known : context.model.names) {
    if (known == name) return Reply::json(model_json(context, name));
  }
  return Reply::error(404, fmt::format("The model `{}` does not exist", printable(name)), "model");
}

// {"prompt"} or {"messages"} -> {"count", "max_model_len", "tokens", "token_strs"}
Result<Json> tokenize(const ServeContext& context, const Json& body) {
  OpenAiRequest request;
  bool strings = false;
  FieldReader f(body);
  f.read("model", request.model);
  f.read("return_token_strs", strings);
  std::string text;
  if (f.get("messages") != nullptr) {
    request.add_special_tokens = false;
    f.read("add_special_tokens", request.add_special_tokens);
    ChatInput input = read_chat_input(f);
    OCTAVO_TRY(f.finish());
    OCTAVO_ASSIGN(text, render_chat(context, std::move(input)));
  } else {
    if (f.get("prompt") == nullptr) f.fail("prompt", "is missing; so is messages");
    f.read("prompt", text);
    f.read("add_special_tokens", request.add_special_tokens);
    OCTAVO_TRY(f.finish());
  }
  OCTAVO_ASSIGN(const std::vector<std::int32_t> tokens, encode_prompt(context, text, request));
  Json names;
  if (strings) {
    names = Json::array();
    for (const std::int32_t id : tokens) names.push_back(context.model.tokenizer->token_text(id).value_or(""));
  }
  return Json{{"count", tokens.size()},
              {"max_model_len", context.engine.engine().max_model_len()},
              {"tokens", tokens},
              {"token_strs", std::move(names)}};
}

Result<Json> detokenize(const ServeContext& context, const Json& body) {
  std::vector<std::int32_t> tokens;
  std::string model;
  bool skip_special = false;
  FieldReader f(body);
  f.read("model", model);
  if (f.get("tokens") == nullptr) f.fail("tokens", "is missing");
  f.tokens("tokens", tokens);
  f.read("skip_special_tokens", skip_special);
  OCTAVO_TRY(f.finish());
  if (!context.model.tokenizer) return failure("the model has no tokenizer");
  OCTAVO_ASSIGN(std::string text, context.model.tokenizer->decode(tokens, skip_special));
  return Json{{"prompt", std::move(text)}};
}

Handler json_route(ServeContext& context, Result<Json> (*answer)(const ServeContext&, const Json&)) {
  return [&context, answer](Exchange& x) {
    const std::optional<Json> body = read_json_object(x);
    if (!body) return;
    const Result<Json> out = answer(context, *body);
    static_cast<void>(x.reply(out.ok() ? Reply::json(*out) : Reply::error(400, out.error())));
  };
}

Handler fixed(int status, std::string sentence) {
  return [status, sentence = std::move(sentence)](Exchange& x) {
    static_cast<void>(x.reply(Reply::error(status, sentence)));
  };
}

}  // namespace

void add_general_routes(RouteTable& table, ServeContext& context) {
  const auto get = [&table](std::string_view path, auto answer, const RouteOptions& options = {}) {
    table.add(
        "GET", path, [answer](Exchange& x) { static_cast<void>(x.reply(answer(x))); }, options);
  };
  get("/v1/models", [&context](Exchange&) { return models(context); });
  get("/v1/models/*", [&context](Exchange& x) { return one_model(context, x.head().rest); });
  get("/version", [](Exchange&) { return Reply::json({{"version", version()}}); }, {.without_key = true});
  for (const char* path : {"/health", "/ping"}) {
    get(path, [](Exchange&) { return Reply::empty(); }, {.without_key = true});
  }
  table.add("POST", "/tokenize", json_route(context, tokenize));
  table.add("POST", "/detokenize", json_route(context, detokenize));

  constexpr int kNotImplemented = 501;
  const std::string generates = " is not offered: this server generates text (/v1/completions, /v1/chat/completions)";
  for (const char* path : {"/v1/embeddings", "/embeddings", "/pooling", "/classify", "/score", "/v1/score", "/rerank",
                           "/v1/rerank", "/v2/rerank", "/v1/responses", "/v1/messages", "/v1/audio/transcriptions"}) {
    table.add("POST", path, fixed(kNotImplemented, path + generates));
  }
}

void add_serve_routes(RouteTable& table, ServeContext& context) {
  add_completion_routes(table, context);
  add_chat_routes(table, context);
  add_general_routes(table, context);
  add_metrics_route(table, context);
  add_generate_route(table, context);
  add_token_routes(table, context);
  add_sglang_routes(table, context);
}

}  // namespace octavo::serve
