// Many clients at once, clients that go, clients that do not read, and the end of the server.
#include <atomic>

#include "tests/serve/client.h"

namespace octavo::serve {
namespace {

using std::chrono::milliseconds;
using test::Connection;
using test::Response;
using test::ServerSetup;
using test::TestServer;

Json request_of(int seed, int tokens, bool stream) {
  return {{"prompt", fmt::format("seed {}", seed)},
          {"max_tokens", tokens},
          {"ignore_eos", true},
          {"seed", seed},
          {"logprobs", 1},
          {"stream", stream}};
}

TEST(Load, ParallelAnswersAreThoseOfEachAlone) {
  TestServer server;
  const auto ask = [&](int i) {
    return server.post("/v1/completions", request_of(i, 10 + 5 * i, false)).json()["choices"];
  };
  std::vector<Json> alone;
  for (int i = 0; i < 8; ++i) alone.push_back(ask(i));
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      for (int k = 0; k < 3; ++k) right += ask(i) == alone[static_cast<std::size_t>(i)] ? 1 : 0;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 24);
  EXPECT_TRUE(server.idle());
}

TEST(Load, AClientThatGoesTakesItsRequestWithIt) {
  TestServer server(test::long_setup());
  for (const bool stream : {true, false}) {
    const auto before = server->engine().metrics().finished;
    {
      Connection c(server.port());
      c.send_request("POST", "/v1/completions", request_of(1, 39'000, stream).dump());
      ASSERT_TRUE(TestServer::eventually([&] { return server->engine().metrics().running > 0; }));
    }
    ASSERT_TRUE(TestServer::eventually([&] { return server.idle(); }));
    const auto after = server->engine().metrics().finished;
    EXPECT_EQ(after[2], before[2] + 1) << "it was not aborted";
  }
  // Also one that waits in a paused engine.
  ASSERT_TRUE(server->engine().pause(engine::InFlight::kInPlace).ok());
  {
    Connection c(server.port());
    c.send_request("POST", "/v1/completions", request_of(1, 39'000, false).dump());
    ASSERT_TRUE(TestServer::eventually([&] { return server->engine().metrics().waiting > 0; }));
  }
  EXPECT_TRUE(TestServer::eventually([&] { return server.idle(); }));
  EXPECT_EQ(server->context().names.size(), 0u);
}

// One reader that takes nothing does not hold up the others, and its request ends.
TEST(Load, SlowReaders) {
  ServerSetup setup;
  setup.http.stalled = milliseconds(300);
  TestServer server(setup);
  Connection slow(server.port(), /*receive_buffer=*/1024);
  // The stream of SGLang repeats all text and logprobs in every piece: megabytes.
  const Json body = {{"text", "x"},
                     {"return_logprob", true},
                     {"top_logprobs_num", 20},
                     {"stream", true},
                     {"sampling_params", {{"max_new_tokens", 250}, {"ignore_eos", true}, {"n", 8}}}};
  slow.send_request("POST", "/generate", body.dump());
  ASSERT_TRUE(TestServer::eventually([&] { return server->engine().metrics().running > 0; }));
  EXPECT_EQ(server.post("/v1/completions", request_of(1, 50, false)).status, 200);
  // The server ends the connection: nobody reads.
  EXPECT_TRUE(TestServer::eventually([&] { return server->http().connections() == 0; }));
  EXPECT_TRUE(server.idle());
  EXPECT_EQ(server->context().names.size(), 0u);
}

TEST(Load, NewRequestsAreRefusedAtTheGate) {
  TestServer server;
  server->context().refuse_new("the weights are being changed");
  for (const auto& [path, body] : {std::pair<const char*, Json>{"/v1/completions", {{"prompt", "a"}}},
                                   {"/generate", {{"text", "a"}}},
                                   {"/v1/chat/completions", {{"messages", {{{"role", "user"}, {"content", "a"}}}}}}}) {
    const Response r = server.post(path, body);
    EXPECT_EQ(r.status, 503);
    EXPECT_EQ(r.error(), "the weights are being changed");
  }
  server->context().accept_new();
  EXPECT_EQ(server.post("/generate", {{"text", "a"}}).status, 200);
}

TEST(Load, ShutdownDrains) {
  TestServer server(test::long_setup());
  Connection idle(server.port());
  idle.send_request("GET", "/health");
  EXPECT_EQ(idle.read_response().status, 200);
  Connection busy(server.port()), streaming(server.port());
  busy.send_request("POST", "/v1/completions", request_of(1, 2000, false).dump());
  streaming.send_request("POST", "/v1/completions", request_of(2, 2000, true).dump());
  Response stream = streaming.read_head();
  ASSERT_TRUE(TestServer::eventually([&] { return server->engine().metrics().running == 2; }));
  const int port = server.port();
  std::thread stop([&] { server->stop(std::chrono::seconds(20)); });
  EXPECT_TRUE(idle.ended());
  const Response whole = busy.read_response();
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.json()["choices"][0]["finish_reason"], "length");
  while (streaming.read_chunk(stream)) {
  }
  EXPECT_TRUE(stream.complete);
  EXPECT_EQ(stream.pieces().back()["choices"][0]["finish_reason"], "length");
  stop.join();
  try {
    Connection late(port);
    EXPECT_TRUE(late.ended());
  } catch (const std::runtime_error&) {
  }
}

// Without time to drain every request still gets an answer that says what happened.
TEST(Load, ShutdownAborts) {
  TestServer server(test::long_setup());
  Connection busy(server.port());
  busy.send_request("POST", "/v1/completions", request_of(1, 39'000, false).dump());
  ASSERT_TRUE(TestServer::eventually([&] { return server->engine().metrics().running == 1; }));
  std::thread stop([&] { server->stop(milliseconds(0)); });
  const Response r = busy.read_response();
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.json()["choices"][0]["finish_reason"], "abort");
  stop.join();
}

}  // namespace
}  // namespace octavo::serve
