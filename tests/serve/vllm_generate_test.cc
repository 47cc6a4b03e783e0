// vLLM's token-in token-out route: its shape, its stream, and that it says what the other routes say.
#include "tests/serve/client.h"

namespace octavo::serve {
namespace {

using test::Connection;
using test::Response;
using test::TestServer;

constexpr const char* kPath = "/inference/v1/generate";

Json ok(const Response& r) {
  EXPECT_EQ(r.status, 200) << r.body;
  return r.json();
}

TEST(TokensInTokensOut, Shape) {
  TestServer server;
  const Json ids = ok(server.post("/tokenize", {{"prompt", "the cat"}}))["tokens"];
  const Json sampling = {{"max_tokens", 6}, {"temperature", 1}, {"seed", 7},
                         {"n", 2},          {"logprobs", 2},    {"prompt_logprobs", 0}};
  const Json r = ok(server.post(kPath, {{"token_ids", ids}, {"sampling_params", sampling}, {"request_id", "mine"}}));
  EXPECT_EQ(r["request_id"], "mine");
  ASSERT_EQ(r["choices"].size(), 2u);
  EXPECT_EQ(r["prompt_logprobs"].size(), ids.size());
  EXPECT_TRUE(r["prompt_logprobs"][0].is_null());
  const Json same = ok(server.post("/v1/completions", {{"prompt", ids},
                                                       {"max_tokens", 6},
                                                       {"temperature", 1},
                                                       {"seed", 7},
                                                       {"n", 2},
                                                       {"logprobs", 2},
                                                       {"return_token_ids", true}}));
  for (std::size_t i = 0; i < 2; ++i) {
    const Json &choice = r["choices"][i], &other = same["choices"][i];
    EXPECT_EQ(choice["index"], i);
    EXPECT_EQ(choice["token_ids"], other["token_ids"]);
    EXPECT_EQ(choice["finish_reason"], "length");
    EXPECT_TRUE(choice["stop_reason"].is_null());
    EXPECT_EQ(choice["weight_versions"], Json::parse(R"([{"version": "default", "start": 0, "end": 6}])"));
    const Json& content = choice["logprobs"]["content"];
    ASSERT_EQ(content.size(), 6u);
    for (std::size_t k = 0; k < 6; ++k) {
      EXPECT_EQ(content[k]["token_id"], choice["token_ids"][k]);
      EXPECT_EQ(content[k]["logprob"], other["logprobs"]["token_logprobs"][k]);
      EXPECT_GE(content[k]["rank"], 1);
      ASSERT_EQ(content[k]["top_logprobs"].size(), 2u);
      EXPECT_EQ(content[k]["top_logprobs"][0]["rank"], 1);
    }
  }
  // Its own defaults; a name where the client has none.
  const Json plain = ok(server.post(kPath, {{"token_ids", ids}}));
  EXPECT_FALSE(plain["request_id"].get<std::string>().empty());
  EXPECT_TRUE(plain["choices"][0]["logprobs"].is_null());
  EXPECT_LE(plain["choices"][0]["token_ids"].size(), 16u);
  EXPECT_TRUE(plain["prompt_logprobs"].is_null());
}

TEST(TokensInTokensOut, StreamSaysTheSame) {
  TestServer server;
  Json ask = {{"token_ids", {5, 6, 7}},
              {"sampling_params", {{"max_tokens", 9}, {"temperature", 0}, {"ignore_eos", true}, {"logprobs", 1}}}};
  const Json whole = ok(server.post(kPath, ask))["choices"][0];
  ask["stream"] = true;
  Json tokens = Json::array(), logprobs = Json::array(), last;
  for (const Json& piece : server.post(kPath, ask).pieces()) {
    last = piece["choices"][0];
    for (const Json& id : last["token_ids"]) tokens.push_back(id);
    for (const Json& entry : last["logprobs"]["content"]) logprobs.push_back(entry);
  }
  EXPECT_EQ(tokens, whole["token_ids"]);
  EXPECT_EQ(logprobs, whole["logprobs"]["content"]);
  EXPECT_EQ(last["finish_reason"], whole["finish_reason"]);
  EXPECT_EQ(last["weight_versions"], whole["weight_versions"]);
}

TEST(TokensInTokensOut, Abort) {
  TestServer server(test::long_setup());
  Connection c(server.port());
  c.send_request("POST", kPath,
                 Json({{"token_ids", {5}},
                       {"request_id", "a"},
                       {"stream", true},
                       {"sampling_params", {{"max_tokens", 30'000}, {"ignore_eos", true}}}})
                     .dump());
  Response r = c.read_head();
  ASSERT_TRUE(c.read_chunk(r));  // it has begun
  const Response aborted = server.post("/inference/v1/abort_requests", {{"request_ids", {"generate-tokens-a"}}});
  EXPECT_EQ(aborted.status, 200);
  EXPECT_EQ(aborted.body, "");
  while (c.read_chunk(r)) {
  }
  EXPECT_EQ(r.pieces().back()["choices"][0]["finish_reason"], "abort");
  EXPECT_EQ(server.post("/inference/v1/abort_requests", Json::object()).status, 400);
}

TEST(TokensInTokensOut, Refusals) {
  TestServer server;
  const auto refuse = [&](const Json& body) {
    const Response r = server.post(kPath, body);
    EXPECT_EQ(r.status, 400) << r.body;
    return r.error();
  };
  EXPECT_EQ(refuse(Json::object()), "token_ids: is missing");
  EXPECT_EQ(refuse({{"token_id", {1}}}), "unknown field \"token_id\"; did you mean token_ids or return_token_ids?");
  EXPECT_FALSE(refuse({{"token_ids", Json::array()}}).empty());
  EXPECT_EQ(refuse({{"token_ids", {1}}, {"sampling_params", {{"top_p", 2}}}}),
            "top_p 2: must be above 0 and at most 1");
  EXPECT_EQ(refuse({{"token_ids", {1}}, {"sampling_params", {{"max_token", 2}}}}),
            "unknown field \"sampling_params.max_token\"; did you mean max_tokens or min_tokens?");
  EXPECT_FALSE(refuse({{"token_ids", {1}}, {"output_mode", "text"}}).empty());
}

}  // namespace
}  // namespace octavo::serve
