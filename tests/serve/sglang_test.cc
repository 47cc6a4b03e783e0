// SGLang's routes: meta_info as its clients read it, logprobs, batches, aborts.
#include "tests/serve/client.h"

namespace octavo::serve {
namespace {

using test::Connection;
using test::Response;
using test::ServerSetup;
using test::TestServer;

const Json kSampling = {{"temperature", 0}, {"max_new_tokens", 6}};

Json ok(const Response& r) {
  EXPECT_EQ(r.status, 200) << r.body;
  return r.json();
}

TEST(Generate, Shape) {
  TestServer server;
  const Json r = ok(server.post("/generate", {{"text", "the cat"}, {"sampling_params", kSampling}, {"rid", "mine"}}));
  EXPECT_TRUE(r["text"].is_string());
  EXPECT_EQ(r["output_ids"].size(), 6u);
  const Json& meta = r["meta_info"];
  EXPECT_EQ(meta["id"], "mine");
  EXPECT_EQ(meta["finish_reason"], (Json{{"type", "length"}, {"length", 6}}));
  EXPECT_EQ(meta["completion_tokens"], 6);
  EXPECT_EQ(meta["weight_version"], "default");
  EXPECT_EQ(meta["weight_versions"], Json::parse(R"([{"version": "default", "start": 0, "end": 6}])"));
  EXPECT_FALSE(meta.contains("output_token_logprobs"));
  // The same from ids, and what OpenAI's route says.
  const Json ids = ok(server.post("/tokenize", {{"prompt", "the cat"}}))["tokens"];
  EXPECT_EQ(meta["prompt_tokens"], ids.size());
  EXPECT_EQ(ok(server.post("/generate", {{"input_ids", ids}, {"sampling_params", kSampling}}))["text"], r["text"]);
  const Json same = ok(server.post("/v1/completions", {{"prompt", ids}, {"max_tokens", 6}, {"temperature", 0}}));
  EXPECT_EQ(same["choices"][0]["text"], r["text"]);
  // slime's request: what it always sends.
  const Json slime = {{"temperature", 1.0},          {"top_p", 1.0},         {"top_k", -1},
                      {"max_new_tokens", 4},         {"stop", nullptr},      {"stop_token_ids", nullptr},
                      {"skip_special_tokens", true}, {"no_stop_trim", true}, {"spaces_between_special_tokens", false}};
  const Json rollout =
      ok(server.post("/generate", {{"input_ids", ids}, {"sampling_params", slime}, {"return_logprob", true}}));
  const Json& logprobs = rollout["meta_info"]["output_token_logprobs"];
  ASSERT_EQ(logprobs.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(logprobs[i][1], rollout["output_ids"][i]);
    EXPECT_LE(logprobs[i][0], 0);
    EXPECT_TRUE(logprobs[i][2].is_null());
  }
  EXPECT_EQ(rollout["meta_info"]["input_token_logprobs"], Json::array());
}

TEST(Generate, LogprobsAreThoseOfScore) {
  TestServer server;
  const Json ids = ok(server.post("/tokenize", {{"prompt", "the cat sat"}}))["tokens"];
  const Json r = ok(server.post("/generate", {{"input_ids", ids},
                                              {"sampling_params", kSampling},
                                              {"return_logprob", true},
                                              {"logprob_start_len", 2},
                                              {"top_logprobs_num", 2},
                                              {"return_text_in_logprobs", true}}));
  auto tokens = ids.get<std::vector<std::int32_t>>();
  const std::size_t prompt = tokens.size();
  for (const Json& id : r["output_ids"]) tokens.push_back(id.get<std::int32_t>());
  const engine::Scores scores = test::scores_of(TestServer::model_folder(), tokens, 2);
  const Json& meta = r["meta_info"];
  const Json& input = meta["input_token_logprobs"];
  ASSERT_EQ(input.size(), prompt - 2);
  EXPECT_EQ(meta["input_top_logprobs"].size(), prompt - 2);
  EXPECT_TRUE(input[0][0].is_null());
  for (std::size_t i = 0; i < input.size(); ++i) {
    EXPECT_EQ(input[i][1], tokens[2 + i]);
    EXPECT_TRUE(input[i][2].is_string());
    if (i > 0) {
      EXPECT_EQ(input[i][0].get<float>(), scores.logprobs[2 + i]);
    }
  }
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(meta["output_token_logprobs"][i][0].get<float>(), scores.logprobs[prompt + i]);
    ASSERT_EQ(meta["output_top_logprobs"][i].size(), 2u);
    EXPECT_EQ(meta["output_top_logprobs"][i][0][1], scores.top[prompt + i][0].token);
  }
  // The whole prompt.
  const Json all = ok(server.post("/generate", {{"input_ids", ids},
                                                {"sampling_params", {{"max_new_tokens", 0}}},
                                                {"return_logprob", true},
                                                {"logprob_start_len", 0}}));
  EXPECT_EQ(all["meta_info"]["input_token_logprobs"].size(), prompt);
  EXPECT_EQ(all["output_ids"], Json::array());
}

// SGLang's are those after the temperature and before top-k, top-p and min-p.
TEST(Generate, LogprobsBeforeTheCuts) {
  TestServer server;
  const auto ask = [&](double temperature, bool cut) {
    Json sampling = {{"temperature", temperature}, {"max_new_tokens", 1}, {"sampling_seed", 4}};
    if (cut) sampling.update({{"top_k", 2}, {"top_p", 0.5}, {"min_p", 0.01}});
    return ok(server.post("/generate", {{"text", "the cat"},
                                        {"sampling_params", sampling},
                                        {"return_logprob", true},
                                        {"top_logprobs_num", 20}}))["meta_info"];
  };
  for (const double temperature : {0.7, 1.0, 1.5}) {
    const Json cut = ask(temperature, true), free = ask(temperature, false), raw = ask(1.0, false);
    EXPECT_EQ(cut["output_top_logprobs"], free["output_top_logprobs"]) << temperature;
    const Json &a = free["output_top_logprobs"][0], &b = raw["output_top_logprobs"][0];
    ASSERT_EQ(a.size(), 20u);
    for (std::size_t k = 1; k < 20; ++k) {
      EXPECT_EQ(a[k][1], b[k][1]);
      EXPECT_NEAR(a[k][0].get<double>() - a[0][0].get<double>(),
                  (b[k][0].get<double>() - b[0][0].get<double>()) / temperature, 1e-4);
    }
  }
}

TEST(Generate, Batches) {
  TestServer server;
  const Json r = ok(server.post(
      "/generate",
      {{"text", {"the cat", "a dog"}},
       {"sampling_params", {{{"temperature", 0}, {"max_new_tokens", 3}}, {{"temperature", 0}, {"max_new_tokens", 5}}}},
       {"rid", {"a", "b"}}}));
  ASSERT_EQ(r.size(), 2u);
  EXPECT_EQ(r[0]["meta_info"]["id"], "a");
  EXPECT_EQ(r[0]["output_ids"].size(), 3u);
  EXPECT_EQ(r[1]["output_ids"].size(), 5u);
  // n > 1 is a list, too, continuations after each other.
  const Json n = ok(server.post(
      "/generate", {{"text", "a"}, {"sampling_params", {{"n", 3}, {"max_new_tokens", 4}, {"sampling_seed", 1}}}}));
  ASSERT_EQ(n.size(), 3u);
  EXPECT_NE(n[0]["output_ids"], n[1]["output_ids"]);
  EXPECT_TRUE(ok(server.post("/generate", {{"text", Json::array({"a"})}})).is_array());
}

TEST(Generate, StreamRepeatsWhatWasSaid) {
  TestServer server;
  const Json ask = {{"text", {"the cat", "a dog"}}, {"sampling_params", kSampling}, {"return_logprob", true}};
  const Json whole = ok(server.post("/generate", ask));
  Json streamed = ask;
  streamed["stream"] = true;
  const std::vector<Json> pieces = server.post("/generate", streamed).pieces();
  std::vector<Json> last(2);
  for (const Json& piece : pieces) {
    Json& before = last[piece["index"].get<std::size_t>()];
    if (!before.is_null()) {
      EXPECT_TRUE(piece["text"].get<std::string>().starts_with(before["text"].get<std::string>()));
      EXPECT_TRUE(before["meta_info"]["finish_reason"].is_null());
    }
    before = piece;
  }
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(last[i]["text"], whole[i]["text"]);
    EXPECT_EQ(last[i]["output_ids"], whole[i]["output_ids"]);
    EXPECT_EQ(last[i]["meta_info"]["finish_reason"], whole[i]["meta_info"]["finish_reason"]);
    EXPECT_EQ(last[i]["meta_info"]["output_token_logprobs"], whole[i]["meta_info"]["output_token_logprobs"]);
  }
}

TEST(Generate, Stops) {
  TestServer server;
  const auto sampling = [](const Json& more) {
    Json out = {{"temperature", 0}, {"max_new_tokens", 8}, {"logit_bias", {{"65", 100}}}};
    for (const auto& [key, value] : more.items()) out[key] = value;
    return Json{{"text", "x"}, {"sampling_params", out}};
  };
  const Json trimmed = ok(server.post("/generate", sampling({{"stop", "AA"}})));
  EXPECT_EQ(trimmed["text"], "");
  EXPECT_EQ(trimmed["meta_info"]["finish_reason"], (Json{{"type", "stop"}, {"matched", "AA"}}));
  EXPECT_EQ(ok(server.post("/generate", sampling({{"stop", "AA"}, {"no_stop_trim", true}})))["text"], "AA");
  const Json token = ok(server.post("/generate", sampling({{"stop_token_ids", {65}}})));
  EXPECT_EQ(token["meta_info"]["finish_reason"], (Json{{"type", "stop"}, {"matched", 65}}));
}

TEST(Generate, Refusals) {
  TestServer server;
  const auto refuse = [&](const Json& body) {
    const Response r = server.post("/generate", body);
    EXPECT_EQ(r.status, 400) << r.body;
    return r.error();
  };
  EXPECT_EQ(refuse({{"txt", "a"}}), "unknown field \"txt\"; did you mean text?");
  EXPECT_EQ(refuse(Json::object()), "exactly one of text and input_ids must be given");
  EXPECT_EQ(refuse({{"text", "a"}, {"input_ids", {1}}}), "exactly one of text and input_ids must be given");
  EXPECT_EQ(refuse({{"text", "a"}, {"sampling_params", {{"max_tokens", 4}}}}),
            "sampling_params.max_tokens: is called max_new_tokens here");
  EXPECT_FALSE(refuse({{"text", {"a", "b"}}, {"rid", {"x"}}}).empty());
  EXPECT_FALSE(refuse({{"text", "a"}, {"sampling_params", {{"regex", "a*"}}}}).empty());
  EXPECT_FALSE(refuse({{"text", "a"}, {"return_logprob", true}, {"logprob_start_len", 99}}).empty());
  EXPECT_FALSE(refuse({{"input_ids", {1, 2.5}}}).empty());
  EXPECT_FALSE(refuse({{"input_ids", {1'000'000}}}).empty());
  EXPECT_FALSE(refuse({{"text", 5}}).empty());
}

TEST(SGLang, SmallRoutes) {
  TestServer server;
  for (const char* path : {"/get_model_info", "/model_info"}) {
    const Json info = ok(server.get(path));
    EXPECT_EQ(info["is_generation"], true);
    EXPECT_EQ(info["weight_version"], "default");
    EXPECT_EQ(info["model_path"], TestServer::model_folder());
    EXPECT_EQ(info["model_type"], "qwen3");
  }
  EXPECT_EQ(ok(server.get("/server_info"))["max_model_len"], 256);
  EXPECT_EQ(ok(server.get("/v1/loads?include=core"))["loads"][0]["num_running_reqs"], 0);
  EXPECT_EQ(ok(server.get("/get_weight_version"))["weight_version"], "default");
  EXPECT_EQ(server.get("/health_generate").status, 200);
  ASSERT_TRUE(server->engine().pause(engine::InFlight::kAbort).ok());
  EXPECT_EQ(server.get("/health_generate").status, 503);
}

TEST(SGLang, FlushCacheForgets) {
  TestServer server;
  const std::string prompt(64, 'p');
  const auto cached = [&] {
    return ok(server.post("/generate",
                          {{"text", prompt}, {"sampling_params", kSampling}}))["meta_info"]["cached_tokens"]
        .get<int>();
  };
  EXPECT_EQ(cached(), 0);
  EXPECT_GT(cached(), 0);
  EXPECT_EQ(server.post("/flush_cache", Json::object()).status, 200);
  EXPECT_EQ(cached(), 0);
  EXPECT_EQ(server.get("/flush_cache?timeout=x").status, 400);
}

// An aborted request answers normally, with what it has.
TEST(SGLang, AbortByPrefix) {
  TestServer server(test::long_setup());
  const auto start = [&](Connection& c, const char* rid, int tokens) {
    Json body = {{"text", "a"}, {"sampling_params", {{"max_new_tokens", tokens}, {"ignore_eos", true}}}};
    body["rid"] = rid;
    body["stream"] = true;
    c.send_request("POST", "/generate", body.dump());
    Response head = c.read_head();
    EXPECT_EQ(head.status, 200);
    EXPECT_TRUE(c.read_chunk(head));  // it has begun
    return head;
  };
  Connection a(server.port()), b(server.port());
  Response ra = start(a, "group_1", 5000);
  Response rb = start(b, "other", 1000);
  EXPECT_EQ(server.post("/flush_cache", Json::object()).status, 400);
  const Response aborted = server.post("/abort_request", {{"rid", "group"}});
  EXPECT_EQ(aborted.status, 200);
  EXPECT_EQ(aborted.body, "");
  while (a.read_chunk(ra)) {
  }
  const Json last = ra.pieces().back();
  EXPECT_EQ(last["meta_info"]["finish_reason"]["type"], "abort");
  EXPECT_GT(last["output_ids"].size(), 0u);
  EXPECT_LT(last["output_ids"].size(), 5000u);
  while (b.read_chunk(rb)) {
  }
  EXPECT_EQ(rb.pieces().back()["meta_info"]["finish_reason"]["type"], "length");
  EXPECT_EQ(server->context().names.size(), 0u);
}

}  // namespace
}  // namespace octavo::serve
