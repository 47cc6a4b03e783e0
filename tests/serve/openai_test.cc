// The OpenAI routes: each one's shape and effect, and that a stream says what the whole answer says.
#include "tests/serve/client.h"

namespace octavo::serve {
namespace {

using test::Connection;
using test::Response;
using test::ServerSetup;
using test::TestServer;

const Json kBase = {{"prompt", "the cat"}, {"max_tokens", 12}, {"temperature", 0}};

Json with(Json base, const Json& more) {
  for (const auto& [key, value] : more.items()) base[key] = value;
  return base;
}

Json ok(const Response& r) {
  EXPECT_EQ(r.status, 200) << r.body;
  return r.json();
}

Json complete(const TestServer& server, const Json& more = Json::object()) {
  return ok(server.post("/v1/completions", with(kBase, more)));
}

std::string refused(const TestServer& server, const char* path, const Json& body) {
  const Response r = server.post(path, body);
  EXPECT_EQ(r.status, 400) << body << r.body;
  return r.error();
}

TEST(Completions, Shape) {
  TestServer server;
  const Json r = complete(server, {{"model", "other"}});
  EXPECT_TRUE(r["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(r["object"], "text_completion");
  EXPECT_EQ(r["model"], "other");
  EXPECT_GT(r["created"], 1'600'000'000);
  ASSERT_EQ(r["choices"].size(), 1u);
  const Json& choice = r["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(r["usage"]["completion_tokens"], 12);
  EXPECT_EQ(r["usage"]["total_tokens"], 12 + r["usage"]["prompt_tokens"].get<int>());
  // The same as text and as ids; the same again.
  const Json ids = ok(server.post("/tokenize", {{"prompt", "the cat"}}))["tokens"];
  EXPECT_EQ(r["usage"]["prompt_tokens"], ids.size());
  EXPECT_EQ(complete(server, {{"prompt", ids}})["choices"][0]["text"], choice["text"]);
  EXPECT_EQ(complete(server, {{"prompt", Json::array({ids})}})["choices"][0]["text"], choice["text"]);
  EXPECT_EQ(complete(server, {{"max_tokens", nullptr}})["usage"]["completion_tokens"], 16);
}

TEST(Completions, SeveralPromptsAndContinuations) {
  TestServer server;
  const Json r = complete(server, {{"prompt", {"the cat", "a dog"}}, {"n", 3}, {"temperature", 1}, {"seed", 5}});
  ASSERT_EQ(r["choices"].size(), 6u);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(r["choices"][i]["index"], i);
  EXPECT_NE(r["choices"][0]["text"], r["choices"][1]["text"]);
  EXPECT_EQ(r["usage"]["completion_tokens"], 72);
  // Each prompt is counted once, and each is what it would be alone.
  const Json alone = complete(server, {{"prompt", "a dog"}, {"n", 3}, {"temperature", 1}, {"seed", 5}});
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(r["choices"][3 + i]["text"], alone["choices"][i]["text"]);
  const Json other = complete(server, {{"prompt", "a dog"}, {"n", 3}, {"temperature", 1}, {"seed", 6}});
  EXPECT_NE(other["choices"], alone["choices"]);
}

TEST(Completions, StreamSaysTheSame) {
  TestServer server;
  const Json ask = {
      {"prompt", {"the cat", "a dog"}}, {"n", 2}, {"temperature", 1}, {"seed", 3}, {"logprobs", 2}, {"echo", true},
      {"return_token_ids", true}};
  const Json whole = complete(server, ask);
  const Response r = server.post(
      "/v1/completions", with(with(kBase, ask), {{"stream", true}, {"stream_options", {{"include_usage", true}}}}));
  EXPECT_EQ(r.status, 200);
  EXPECT_TRUE(r.complete);
  EXPECT_TRUE(r.headers.at("content-type").starts_with("text/event-stream"));
  std::vector<Json> pieces = r.pieces();
  ASSERT_GT(pieces.size(), 4u);
  EXPECT_EQ(pieces.back()["usage"], whole["usage"]);
  EXPECT_TRUE(pieces.back()["choices"].empty());
  pieces.pop_back();
  std::vector<Json> joined(4);
  for (const Json& piece : pieces) {
    EXPECT_EQ(piece["id"], pieces.front()["id"]);
    EXPECT_TRUE(piece.contains("usage") && piece["usage"].is_null());
    const Json& c = piece["choices"][0];
    Json& to = joined[c["index"].get<std::size_t>()];
    if (to.is_null()) {
      to = c;
      continue;
    }
    EXPECT_TRUE(to["finish_reason"].is_null()) << "a piece after the last";
    to["text"] = to["text"].get<std::string>() + c["text"].get<std::string>();
    for (const auto& [key, list] : c["logprobs"].items()) {
      for (const Json& item : list) to["logprobs"][key].push_back(item);
    }
    for (const Json& id : c["token_ids"]) to["token_ids"].push_back(id);
    to["finish_reason"] = c["finish_reason"];
  }
  for (std::size_t i = 0; i < 4; ++i) {
    for (const char* key : {"text", "logprobs", "token_ids", "prompt_token_ids", "finish_reason"}) {
      EXPECT_EQ(joined[i][key], whole["choices"][i][key]) << i << key;
    }
  }
}

// Echo with logprobs, as lm_eval asks: what `octavo score` says, to the last bit.
TEST(Completions, LogprobsAreThoseOfScore) {
  TestServer server;
  const Json r = complete(server, {{"echo", true}, {"logprobs", 3}, {"max_tokens", 4}, {"return_token_ids", true}});
  const Json& choice = r["choices"][0];
  auto tokens = choice["prompt_token_ids"].get<std::vector<std::int32_t>>();
  const std::size_t prompt = tokens.size();
  for (const Json& id : choice["token_ids"]) tokens.push_back(id.get<std::int32_t>());
  const engine::Scores scores = test::scores_of(TestServer::model_folder(), tokens, 3);
  const Json& l = choice["logprobs"];
  ASSERT_EQ(l["token_logprobs"].size(), tokens.size());
  EXPECT_TRUE(l["token_logprobs"][0].is_null());
  EXPECT_TRUE(l["top_logprobs"][0].is_null());
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) {
      EXPECT_EQ(l["token_logprobs"][i].get<float>(), scores.logprobs[i]) << i;
      EXPECT_LE(l["top_logprobs"][i].size(), 4u);
      EXPECT_TRUE(l["top_logprobs"][i].contains(l["tokens"][i].get<std::string>()));
    }
    if (i < prompt) {
      EXPECT_EQ(l["text_offset"][i], text.size());
      text += l["tokens"][i].get<std::string>();
    }
  }
  EXPECT_EQ(text, "<|bos|>the cat");
  EXPECT_TRUE(choice["text"].get<std::string>().starts_with("the cat"));
  // Nothing but the prompt.
  const Json none = complete(server, {{"echo", true}, {"logprobs", 1}, {"max_tokens", 0}});
  EXPECT_EQ(none["choices"][0]["text"], "the cat");
  EXPECT_EQ(none["usage"]["completion_tokens"], 0);
  EXPECT_EQ(none["choices"][0]["logprobs"]["tokens"].size(), prompt);
  // vLLM's own form.
  const Json own = complete(server, {{"prompt_logprobs", 1}})["choices"][0]["prompt_logprobs"];
  ASSERT_EQ(own.size(), prompt);
  EXPECT_TRUE(own[0].is_null());
  EXPECT_EQ(own[1][std::to_string(tokens[1])]["logprob"].get<float>(), scores.logprobs[1]);
}

TEST(Completions, SamplingFieldsHaveEffects) {
  TestServer server;
  const Json plain = complete(server, {{"return_token_ids", true}});
  const auto ids = plain["choices"][0]["token_ids"].get<std::vector<std::int32_t>>();
  const auto tokens = [&](const Json& more) {
    return complete(server, with(more, {{"return_token_ids", true}}))["choices"][0]["token_ids"]
        .get<std::vector<std::int32_t>>();
  };
  // A banned token does not come; a favoured one does.
  const auto banned = tokens({{"logit_bias", {{std::to_string(ids[0]), -100}}}});
  EXPECT_NE(banned[0], ids[0]);
  EXPECT_EQ(tokens({{"logit_bias", {{"65", 100}}}, {"max_tokens", 3}}), (std::vector<std::int32_t>{65, 65, 65}));
  // A stop token ends it, and says so.
  const Json stopped = complete(server, {{"stop_token_ids", {65}}, {"logit_bias", {{"65", 100}}}});
  EXPECT_EQ(stopped["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(stopped["choices"][0]["stop_reason"], 65);
  EXPECT_EQ(stopped["choices"][0]["text"], "");
  EXPECT_EQ(tokens({{"stop_token_ids", {65}}, {"logit_bias", {{"65", 100}}}, {"min_tokens", 3}}).size(), 4u);
  // A stop text.
  const Json text = complete(server, {{"stop", "AAA"}, {"logit_bias", {{"65", 100}}}});
  EXPECT_EQ(text["choices"][0]["stop_reason"], "AAA");
  EXPECT_EQ(text["choices"][0]["text"], "");
  EXPECT_EQ(complete(server, {{"stop", {"xyz", "AAA"}},
                              {"logit_bias", {{"65", 100}}},
                              {"include_stop_str_in_output", true}})["choices"][0]["text"],
            "AAA");
  // top_k 1 is the most likely token at any temperature; a seed repeats; another does not.
  EXPECT_EQ(tokens({{"temperature", 2}, {"top_k", 1}}), ids);
  EXPECT_EQ(tokens({{"temperature", 2}, {"seed", 1}}), tokens({{"temperature", 2}, {"seed", 1}}));
  EXPECT_NE(tokens({{"temperature", 2}, {"seed", 1}}), tokens({{"temperature", 2}, {"seed", 2}}));
  // Penalties change a repetition.
  EXPECT_NE(tokens({{"logit_bias", {{"65", 6}}}, {"frequency_penalty", 2}}), tokens({{"logit_bias", {{"65", 6}}}}));
  EXPECT_EQ(complete(server, {{"truncate_prompt_tokens", 2}})["usage"]["prompt_tokens"], 2);
}

TEST(Completions, Refusals) {
  TestServer server;
  const auto refuse = [&](const Json& more) { return refused(server, "/v1/completions", with(kBase, more)); };
  EXPECT_EQ(refuse({{"temprature", 0}}), "unknown field \"temprature\"; did you mean temperature?");
  EXPECT_EQ(refuse({{"suffix", "end"}}), "suffix: text to fill in between is not offered; put it into the prompt");
  EXPECT_EQ(refuse({{"best_of", 3}}), "best_of: is not offered; ask for n outputs and choose");
  EXPECT_EQ(refuse({{"prompt", nullptr}}), "prompt: is missing");
  EXPECT_EQ(refuse({{"prompt", nullptr}, {"promt", "a"}}), "unknown field \"promt\"; did you mean prompt?");
  EXPECT_EQ(refuse({{"prompt", {1, "a"}}}), "prompt: must be text, a list of token ids, or a list of either");
  EXPECT_EQ(refuse({{"prompt", {{1, 100000}}}}),
            "token id 100000 of the prompt is outside the model's vocabulary of 320");
  EXPECT_FALSE(refuse({{"prompt", Json::array()}}).empty());
  EXPECT_FALSE(refuse({{"prompt", {Json::array()}}}).empty());
  EXPECT_EQ(refuse({{"top_p", 2}}), "top_p 2: must be above 0 and at most 1");
  EXPECT_FALSE(refuse({{"temperature", -1}}).empty());
  EXPECT_FALSE(refuse({{"n", 0}}).empty());
  EXPECT_FALSE(refuse({{"n", 1'000'000'000'000}}).empty());
  EXPECT_FALSE(refuse({{"logprobs", 100}}).empty());
  EXPECT_FALSE(refuse({{"max_tokens", 0}}).empty());
  EXPECT_FALSE(refuse({{"stop", ""}}).empty());
  EXPECT_FALSE(refuse({{"stream_options", {{"include_usage", true}}}}).empty());
  EXPECT_FALSE(refuse({{"response_format", {{"type", "json_object"}}}}).empty());
  EXPECT_FALSE(refuse({{"response_format", 7}}).empty());
  EXPECT_FALSE(refuse({{"guided_regex", "a+"}}).empty());
  // A prompt longer than the context, also one of a megabyte.
  EXPECT_FALSE(refuse({{"prompt", std::string(1000, 'x')}}).empty());
  EXPECT_FALSE(refuse({{"prompt", std::string(1 << 20, 'x')}}).empty());
  const Response model = server.post("/v1/completions", with(kBase, {{"model", "gpt-5"}}));
  EXPECT_EQ(model.status, 404);
  EXPECT_EQ(model.json()["error"]["type"], "NotFoundError");
  EXPECT_EQ(model.json()["error"]["param"], "model");
  EXPECT_TRUE(server.idle());
}

TEST(Completions, BrokenBodies) {
  TestServer server;
  const auto refuse = [&](const std::string& body) {
    const Response r = server.request("POST", "/v1/completions", body);
    EXPECT_EQ(r.status, 400) << r.body;
    return r.error();
  };
  EXPECT_TRUE(refuse("{\"prompt\": \"a\"").starts_with("body:1:"));
  EXPECT_FALSE(refuse("").empty());
  EXPECT_EQ(refuse("[1]"), "the body must be a JSON object, and is a list");
  EXPECT_EQ(refuse("{\"prompt\": \"\xff\xfe\"}"), "the body is not valid UTF-8");
  EXPECT_FALSE(refuse("{\"prompt\": \"\\ud800\"}").empty());
  EXPECT_FALSE(refuse("{\"prompt\": " + std::string(100'000, '[') + "}").empty());
  EXPECT_FALSE(refuse("{\"a\": " + std::string(100, '[') + std::string(100, ']') + "}").empty());
  EXPECT_FALSE(refuse("{\"prompt\": \"a\", \"prompt\": \"b\"}").empty());
  EXPECT_FALSE(refuse("{\"prompt\": \"a\", \"temperature\": 1e999}").empty());
  EXPECT_EQ(complete(server)["choices"].size(), 1u);
}

const Json kChat = {{"messages", {{{"role", "user"}, {"content", "hello"}}}}, {"max_tokens", 10}, {"temperature", 0}};

TEST(Chat, ShapeAndTemplate) {
  TestServer server;
  const Json r = ok(server.post("/v1/chat/completions", with(kChat, {{"return_token_ids", true}})));
  EXPECT_TRUE(r["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(r["object"], "chat.completion");
  EXPECT_EQ(r["model"], "tiny");
  const Json& choice = r["choices"][0];
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_TRUE(choice["message"]["content"].is_string());
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(r["usage"]["completion_tokens"], 10);
  // It is what a completion of the rendered ids says; and parts are joined.
  const Json ids = ok(server.post("/tokenize", {{"messages", kChat["messages"]}}))["tokens"];
  EXPECT_EQ(r["prompt_token_ids"], ids);
  const Json same = complete(server, {{"prompt", ids}, {"max_tokens", 10}});
  EXPECT_EQ(same["choices"][0]["text"], choice["message"]["content"]);
  const Json parts = {{{"role", "user"}, {"content", {{{"type", "text"}, {"text", "hello"}}}}}};
  EXPECT_EQ(ok(server.post("/tokenize", {{"messages", parts}}))["tokens"], ids);
  // More messages, more tokens.
  const Json more = {{{"role", "system"}, {"content", "be brief"}}, {{"role", "user"}, {"content", "hello"}}};
  EXPECT_GT(ok(server.post("/tokenize", {{"messages", more}}))["count"], ids.size());
  EXPECT_EQ(ok(server.post(
                "/v1/chat/completions",
                with(kChat, {{"max_tokens", nullptr}, {"max_completion_tokens", 3}})))["usage"]["completion_tokens"],
            3);
}

TEST(Chat, StreamSaysTheSame) {
  TestServer server;
  const Json ask = with(kChat, {{"n", 2}, {"temperature", 1}, {"seed", 1}, {"logprobs", true}, {"top_logprobs", 2}});
  const Json whole = ok(server.post("/v1/chat/completions", ask));
  const Response r =
      server.post("/v1/chat/completions", with(ask, {{"stream", true}, {"stream_options", {{"include_usage", true}}}}));
  std::vector<Json> pieces = r.pieces();
  ASSERT_GT(pieces.size(), 4u);
  EXPECT_EQ(pieces.back()["usage"], whole["usage"]);
  pieces.pop_back();
  std::vector<std::string> text(2), finish(2);
  std::vector<Json> logprobs(2, Json::array());
  std::vector<bool> begun(2);
  for (const Json& piece : pieces) {
    EXPECT_EQ(piece["object"], "chat.completion.chunk");
    const Json& c = piece["choices"][0];
    const auto i = c["index"].get<std::size_t>();
    if (!begun[i]) {
      EXPECT_EQ(c["delta"]["role"], "assistant");
      begun[i] = true;
    }
    text[i] += c["delta"].value("content", "");
    if (c["logprobs"].is_object()) {
      for (const Json& entry : c["logprobs"]["content"]) logprobs[i].push_back(entry);
    }
    if (!c["finish_reason"].is_null()) finish[i] = c["finish_reason"];
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const Json& c = whole["choices"][i];
    EXPECT_EQ(text[i], c["message"]["content"]);
    EXPECT_EQ(finish[i], c["finish_reason"]);
    EXPECT_EQ(logprobs[i], c["logprobs"]["content"]);
    ASSERT_EQ(logprobs[i].size(), 10u);
    for (const Json& entry : logprobs[i]) {
      EXPECT_EQ(entry["top_logprobs"].size(), 2u);
      EXPECT_LE(entry["logprob"], entry["top_logprobs"][0]["logprob"]);
      EXPECT_EQ(entry["bytes"].size(), entry["token"].get<std::string>().size());
    }
  }
}

// A template of its own (--chat-template FILE) that shows all it is given.
TEST(Chat, ToolsAreRenderedByTheTemplate) {
  const test::TempDir dir;
  ServerSetup setup;
  setup.template_file = (dir / "tools.jinja").string();
  test::write_file(
      setup.template_file,
      "{% for t in tools or [] %}<{{ t.function.name }}: {{ t.function.parameters.properties | list }}>"
      "{% endfor %}{% for m in messages %}{{ m.role }}={{ m.content or '' }}{% for c in m.tool_calls or [] "
      "%}[{{ c.function.name }} {{ c.function.arguments.city }}]{% endfor %};{% endfor %}");
  TestServer server(setup);
  const Json tools = Json::parse(
      R"([{"type": "function", "function": {"name": "weather", "description": "of a city",
          "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}])");
  const Json messages = Json::parse(R"([
      {"role": "user", "content": "Rome?"},
      {"role": "assistant", "content": null, "tool_calls": [
          {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Rome\"}"}}]},
      {"role": "tool", "tool_call_id": "1", "content": "sun"}])");
  const auto rendered = [&](const Json& more) {
    const Json ask = with({{"messages", messages}, {"max_tokens", 1}, {"return_token_ids", true}}, more);
    const Json ids = ok(server.post("/v1/chat/completions", ask))["prompt_token_ids"];
    return ok(server.post("/detokenize", {{"tokens", ids}}))["prompt"].get<std::string>();
  };
  const std::string talk = "user=Rome?;assistant=[weather Rome];tool=sun;";
  EXPECT_EQ(rendered({{"tools", tools}}), "<weather: ['city']>" + talk);
  EXPECT_EQ(rendered({{"tools", tools}, {"tool_choice", "auto"}}), "<weather: ['city']>" + talk);
  EXPECT_EQ(rendered({{"tools", tools}, {"tool_choice", "none"}}), talk);
  EXPECT_EQ(rendered(Json::object()), talk);
}

TEST(Chat, Refusals) {
  TestServer server;
  const auto refuse = [&](const Json& more) { return refused(server, "/v1/chat/completions", with(kChat, more)); };
  EXPECT_EQ(refuse({{"tools", {{{"type", "function"}}}}}).find("tools: the model's chat template does not show them"),
            0u);
  EXPECT_EQ(refuse({{"messages", nullptr}}), "messages: is missing");
  EXPECT_FALSE(refuse({{"messages", Json::array()}}).empty());
  EXPECT_EQ(refuse({{"messages", {{{"content", "x"}}}}}), "messages[0]: has no role");
  EXPECT_EQ(refuse({{"messages", {{{"role", "user"}}}}}), "messages[0]: has no content");
  EXPECT_EQ(refuse({{"messages", {{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}}}}),
            "messages[0]: a part of content is image_url: only text is understood");
  EXPECT_FALSE(refuse({{"top_logprobs", 2}}).empty());
  EXPECT_FALSE(refuse({{"response_format", {{"type", "json_object"}}}}).empty());
  EXPECT_FALSE(refuse({{"tool_choice", "required"}}).empty());
  EXPECT_FALSE(refuse({{"messages", {{{"role", "assistant"}, {"tool_calls", {{{"function", 1}}}}}}}}).empty());
  ServerSetup setup;
  setup.chat_template = false;
  TestServer without(setup);
  EXPECT_EQ(without.post("/v1/chat/completions", kChat).status, 400);
}

TEST(General, SmallRoutes) {
  TestServer server;
  const Json models = ok(server.get("/v1/models"));
  EXPECT_EQ(models["object"], "list");
  ASSERT_EQ(models["data"].size(), 2u);
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  EXPECT_EQ(models["data"][0]["max_model_len"], 256);
  EXPECT_EQ(ok(server.get("/v1/models/other"))["id"], "other");
  EXPECT_EQ(server.get("/v1/models/none").status, 404);
  EXPECT_FALSE(ok(server.get("/version"))["version"].get<std::string>().empty());
  const Response health = server.get("/health");
  EXPECT_EQ(health.status, 200);
  EXPECT_EQ(health.body, "");
  const Json tokens = ok(server.post("/tokenize", {{"prompt", "the cat"}, {"return_token_strs", true}}));
  EXPECT_EQ(tokens["token_strs"].size(), tokens["count"]);
  EXPECT_EQ(ok(server.post("/detokenize", {{"tokens", tokens["tokens"]}}))["prompt"], "<|bos|>the cat");
  EXPECT_FALSE(refused(server, "/detokenize", {{"tokens", {-5}}}).empty());
  EXPECT_FALSE(refused(server, "/tokenize", Json::object()).empty());
}

TEST(General, MetricsCount) {
  TestServer server;
  complete(server);
  complete(server);
  const Response r = server.get("/metrics");
  EXPECT_TRUE(r.headers.at("content-type").starts_with("text/plain; version=0.0.4"));
  const auto has = [&](const std::string& line) {
    return ("\n" + r.body).find("\n" + line + "\n") != std::string::npos;
  };
  EXPECT_TRUE(has("vllm:generation_tokens_total{model_name=\"tiny\"} 24")) << r.body;
  EXPECT_TRUE(has("vllm:num_requests_running{model_name=\"tiny\"} 0"));
  EXPECT_TRUE(has("vllm:request_success_total{finished_reason=\"length\",model_name=\"tiny\"} 2"));
  EXPECT_TRUE(has("vllm:e2e_request_latency_seconds_count{model_name=\"tiny\"} 2"));
  EXPECT_TRUE(has("vllm:e2e_request_latency_seconds_bucket{le=\"+Inf\",model_name=\"tiny\"} 2"));
  EXPECT_TRUE(has("# TYPE vllm:e2e_request_latency_seconds histogram"));
}

}  // namespace
}  // namespace octavo::serve
