// Every route of weight updates by its effect: what the next answers are made of.
#include <gtest/gtest.h>

#include "octavo/base/file.h"
#include "octavo/serve/update_routes.h"
#include "tests/serve/client.h"

namespace octavo::serve {
namespace {

using test::Connection;
using test::Response;
using test::TempDir;
using test::TestServer;

constexpr std::string_view kTensors = "Content-Type: application/octet-stream\r\n";

// New weights of the server's model, as a folder and as the bytes of its file.
struct NewWeights {
  explicit NewWeights(std::uint64_t seed, std::size_t shards = 1) {
    test::TinyDecoder model;
    model.seed = seed;
    model.max_positions = 1 << 16;
    test::CheckpointBuilder builder = test::tiny_chat_model(model);
    names = builder.tensors().size();
    builder.spread(shards);
    folder = builder.write(dir / "new").string();
    for (std::size_t i = 1; i <= shards; ++i) {
      const std::string name =
          shards == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i, shards);
      const File file = File::open_read(dir / "new" / name).value();
      files.emplace_back(file.size(), '\0');
      EXPECT_TRUE(file.read_at(0, as_writable_bytes(files.back())).ok());
    }
  }
  TempDir dir;
  std::string folder;
  std::vector<std::string> files;
  std::size_t names = 0;
};

class UpdateRoutes : public ::testing::Test {
 protected:
  static test::ServerSetup setup(std::chrono::milliseconds timeout = std::chrono::minutes(1)) {
    test::ServerSetup out = test::long_setup();
    out.more = [timeout](RouteTable& table, ServeContext& context) {
      UpdateRouteOptions options;
      options.manager.update.isa = detect_isa();
      options.manager.update.threads = 2;
      options.manager.timeout = timeout;
      add_update_routes(table, context, options);
    };
    return out;
  }
  // Logprobs of the next tokens after a prompt, with the version that made them.
  static Json generate(const TestServer& server, int tokens = 8) {
    const Response r = server.post(
        "/generate", {{"input_ids", {5, 1, 77, 9, 31}},
                      {"sampling_params", {{"max_new_tokens", tokens}, {"temperature", 0}, {"ignore_eos", true}}},
                      {"return_logprob", true}});
    EXPECT_EQ(r.status, 200) << r.body;
    return r.json()["meta_info"];
  }
  static Json logprobs(const TestServer& server) { return generate(server)["output_token_logprobs"]; }
  // What a server says that was started on the folder.
  static Json fresh_logprobs(const std::string& folder) {
    std::vector<std::int32_t> tokens = {5, 1, 77, 9, 31};
    Json out = Json::array();
    for (int i = 0; i < 8; ++i) {
      tokens.push_back(0);
      tokens.back() = test::scores_of(folder, tokens, 1).top.back().at(0).token;
    }
    const engine::Scores scores = test::scores_of(folder, tokens, 0);
    for (std::size_t i = 5; i < tokens.size(); ++i) {
      out.push_back(Json::array({static_cast<double>(scores.logprobs[i]), tokens[i], nullptr}));
    }
    return out;
  }
  static ::testing::AssertionResult says(const Response& r, int status, std::string_view words) {
    if (r.status == status && r.body.find(words) != std::string::npos) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << r.status << " " << r.body;
  }
  static Json without_text(Json logprobs) {
    for (Json& entry : logprobs) {
      entry[0] = static_cast<double>(entry[0].get<float>());
      entry[2] = nullptr;
    }
    return logprobs;
  }
};

TEST_F(UpdateRoutes, SglangSession) {
  TestServer server(setup());
  const NewWeights weights(2, 3);
  const Json before = logprobs(server), after = fresh_logprobs(weights.folder);
  ASSERT_NE(without_text(before), after);
  // Outside a session.
  Response r = server.request("POST", "/update_weights_from_tensor", weights.files[0], kTensors);
  EXPECT_EQ(r.status, 400);
  EXPECT_NE(r.json()["message"].get<std::string>().find("must run between begin_weight_update()"), std::string::npos);
  r = server.post("/begin_weight_update", {{"selector", "all"}});
  EXPECT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(server.post("/begin_weight_update", Json::object()).status, 400);
  EXPECT_EQ(server.get("/weight_update").json()["state"], "updating");
  // Bodies in any order; the old weights serve on.
  for (const std::size_t i : {2, 0, 1}) {
    r = server.request("POST", "/update_weights_from_tensor", weights.files[i], kTensors);
    EXPECT_EQ(r.status, 200) << r.body;
    EXPECT_EQ(r.json()["success"], true);
    EXPECT_EQ(logprobs(server), before);
  }
  r = server.post("/end_weight_update", {{"weight_version", "step-1"}});
  EXPECT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.json()["weight_version"], "step-1");
  EXPECT_EQ(r.json()["weight_version_number"], 2);
  EXPECT_EQ(r.json()["in_flight"], "abort");
  EXPECT_EQ(r.json()["parameters"], weights.names);
  EXPECT_EQ(without_text(logprobs(server)), after);
  EXPECT_EQ(generate(server)["weight_version"], "step-1");
  EXPECT_EQ(server.get("/model_info").json()["weight_version"], "step-1");
}

TEST_F(UpdateRoutes, WholeBodiesChunkedAndBroken) {
  TestServer server(setup());
  const NewWeights weights(3);
  const std::string& file = weights.files[0];
  const Json before = logprobs(server);
  {
    // The connection breaks in the middle of a tensor.
    Connection broken(server.port());
    broken.send(
        fmt::format("POST /update_weights_from_tensor?whole=true HTTP/1.1\r\nHost: t\r\n{}Content-Length: {}\r\n\r\n",
                    kTensors, file.size()));
    broken.send(file.substr(0, file.size() / 2));
    ASSERT_TRUE(TestServer::eventually([&] { return server.get("/weight_update").json()["state"] == "updating"; }));
    EXPECT_EQ(server.post("/begin_weight_update", Json::object()).status, 400);
  }
  ASSERT_TRUE(TestServer::eventually([&] { return server.get("/weight_update").json()["state"] == "idle"; }));
  EXPECT_TRUE(says(server.get("/weight_update"), 200, "weight update 1 was aborted: "));
  EXPECT_TRUE(says(server.post("/end_weight_update", Json::object()), 400, "; weight update 1 was aborted: "));
  EXPECT_EQ(logprobs(server), before);
  EXPECT_EQ(server.get("/weight_info").json()["weight_version"], "default");
  // Chunks of odd sizes.
  Connection chunked(server.port());
  chunked.send(
      fmt::format("POST /update_weights_from_tensor?whole=true&weight_version=chunks&policy=keep HTTP/1.1\r\n"
                  "Host: t\r\n{}Transfer-Encoding: chunked\r\n\r\n",
                  kTensors));
  for (std::size_t at = 0, step = 1; at < file.size(); at += step, step = step * 3 % 50'001 + 1) {
    const std::string piece = file.substr(at, step);
    chunked.send(fmt::format("{:x}\r\n{}\r\n", piece.size(), piece));
  }
  chunked.send("0\r\n\r\n");
  const Response r = chunked.read_response();
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.json()["in_flight"], "recompute");
  EXPECT_EQ(without_text(logprobs(server)), fresh_logprobs(weights.folder));
  EXPECT_EQ(generate(server)["weight_version"], "chunks");
  // Not safetensors, pickles, half a model.
  for (const auto& [body, type, message] :
       {std::tuple<std::string, std::string, std::string>{std::string(100, 'x'), std::string(kTensors),
                                                          "is no safetensors file"},
        {R"({"serialized_named_tensors": ["gASV"]})", "Content-Type: application/json\r\n", "pickled tensors"},
        {NewWeights(4, 2).files[0], std::string(kTensors), "parameters did not arrive"}}) {
    const Response refused = server.request("POST", "/update_weights_from_tensor?whole=true", body, type);
    EXPECT_EQ(refused.status, 400);
    EXPECT_EQ(refused.json()["success"], false);
    EXPECT_NE(refused.json()["message"].get<std::string>().find(message), std::string::npos) << refused.body;
    EXPECT_EQ(server.get("/weight_update").json()["state"], "idle");
  }
  EXPECT_EQ(generate(server)["weight_version"], "chunks");
}

TEST_F(UpdateRoutes, FromDiskReadBackChecked) {
  TestServer server(setup());
  const NewWeights weights(2, 2);
  const auto value = [&] {
    return server.post("/get_weights_by_name", {{"name", "model.norm.weight"}, {"truncate_size", 3}}).json();
  };
  const Json before = value();
  ASSERT_EQ(before.size(), 3u);
  EXPECT_EQ(
      server.get("/get_weights_by_name?name=model.layers.0.self_attn.q_proj.weight&truncate_size=2").json().size(), 2u);
  EXPECT_EQ(server.post("/weights_checker", {{"action", "compare"}}).status, 400);
  EXPECT_EQ(server.post("/weights_checker", {{"action", "snapshot"}}).status, 200);
  EXPECT_EQ(server.post("/weights_checker", {{"action", "compare"}}).status, 200);
  EXPECT_EQ(server.post("/weights_checker", {{"action", "reset_tensors"}}).status, 400);
  const Json sums = server.post("/weight_checker", {{"action", "checksum"}}).json()["checksums"];
  EXPECT_EQ(server.post("/weights_checker", {{"action", "checksum"}}).json()["ranks"][0]["checksums"], sums);
  EXPECT_EQ(server.post("/weight_checker", {{"action", "compare"}, {"baseline", sums}}).json()["match"], true);

  EXPECT_EQ(server.post("/update_weights_from_disk", {{"model_path", "/nowhere"}}).status, 400);
  EXPECT_EQ(server.post("/update_weights_from_disk", {{"model_pth", "/nowhere"}}).status, 400);
  const Response r = server.post("/update_weights_from_disk",
                                 {{"model_path", weights.folder}, {"weight_version", "disk"}, {"flush_cache", true}});
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.json()["num_paused_requests"], 0);
  EXPECT_NE(value(), before);
  EXPECT_EQ(without_text(logprobs(server)), fresh_logprobs(weights.folder));
  EXPECT_EQ(server.post("/weights_checker", {{"action", "compare"}}).status, 400);
  EXPECT_EQ(server.post("/weight_checker", {{"action", "compare"}, {"baseline", sums}}).json()["mismatches"].size(),
            sums.size());
  // The label alone.
  EXPECT_EQ(server.post("/update_weight_version", {{"new_version", "other"}}).json()["new_version"], "other");
  EXPECT_EQ(generate(server)["weight_version"], "other");
  EXPECT_EQ(server.get("/weight_parameters").json()["parameters"].size(), weights.names);
}

TEST_F(UpdateRoutes, VllmSession) {
  TestServer server(setup());
  const NewWeights weights(5, 2);
  EXPECT_EQ(server.request("POST", "/update_weights", weights.files[0], kTensors).status, 400);
  EXPECT_EQ(server.request("POST", "/finish_weight_update").status, 400);
  EXPECT_EQ(server.request("POST", "/start_weight_update").json()["message"], "Weight update started");
  EXPECT_EQ(server.request("POST", "/start_weight_update").status, 400);
  EXPECT_EQ(server.request("POST", "/update_weights", weights.files[1], kTensors).json()["message"], "Weights updated");
  // A file, as of shared memory.
  const std::string path = weights.folder + "/model-00001-of-00002.safetensors";
  EXPECT_EQ(server.post("/update_weights", {{"update_info", {{"path", path}}}}).json()["message"], "Weights updated");
  const Response r = server.post("/finish_weight_update", {{"weight_version", "7"}});
  EXPECT_EQ(r.json()["message"], "Weight update finished") << r.body;
  EXPECT_EQ(server.get("/weight_info").json()["weight_version"], "7");
  EXPECT_EQ(without_text(logprobs(server)), fresh_logprobs(weights.folder));
  // Torn down by hand.
  EXPECT_EQ(server.request("POST", "/start_weight_update").status, 200);
  EXPECT_EQ(server.request("POST", "/abort_weight_update").json()["aborted"], true);
  EXPECT_EQ(server.request("POST", "/abort_weight_update").json()["aborted"], false);
  EXPECT_EQ(server.post("/update_weights", {{"update_info", {{"names", Json::array()}}}}).status, 400);
  EXPECT_EQ(server.get("/get_world_size").json()["world_size"], 1);
  EXPECT_EQ(server.post("/init_weight_transfer_engine", {{"init_info", Json::object()}}).status, 400);
}

// Who asks later is told what an earlier body of the update has done to it.
TEST_F(UpdateRoutes, TheCauseOfAFailureStays) {
  TestServer server(setup());
  EXPECT_EQ(server.get("/weight_update").json()["last_failure"], nullptr);
  const std::string header = R"({"model.norm.weight":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}})";
  const std::string wrong_shape =
      std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "abcdef";
  EXPECT_EQ(server.post("/begin_weight_update", Json::object()).status, 200);
  const Response refused = server.request("POST", "/update_weights_from_tensor", wrong_shape, kTensors);
  EXPECT_TRUE(says(refused, 400, "model.norm.weight"));
  const std::string cause = server.get("/weight_update").json()["last_failure"].get<std::string>();
  EXPECT_TRUE(cause.starts_with("weight update 1 was aborted: ")) << cause;
  EXPECT_NE(cause.find("model.norm.weight"), std::string::npos) << cause;
  for (const char* path : {"/end_weight_update", "/finish_weight_update"}) {
    const Json answer = server.post(path, Json::object()).json();
    EXPECT_EQ(answer.value("message", answer.value("error", "")), "no weight update is open; " + cause);
  }
  for (const char* path : {"/update_weights_from_tensor", "/update_weights"}) {
    EXPECT_TRUE(says(server.request("POST", path, wrong_shape, kTensors), 400, "weight update 1 was aborted: "))
        << path;
  }
  EXPECT_EQ(server.post("/update_weights_from_disk", {{"model_path", "/nowhere"}}).status, 400);
  EXPECT_TRUE(says(server.get("/weight_update"), 200, "weight update 2 was aborted: "));
  EXPECT_EQ(server.post("/begin_weight_update", Json::object()).status, 200);
  EXPECT_EQ(server.get("/weight_update").json()["last_failure"], nullptr);
}

TEST_F(UpdateRoutes, TimeoutOverHttp) {
  TestServer server(setup(std::chrono::milliseconds(30)));
  EXPECT_EQ(server.post("/begin_weight_update", Json::object()).status, 200);
  ASSERT_TRUE(TestServer::eventually([&] { return server.get("/weight_update").json()["state"] == "idle"; }));
  EXPECT_TRUE(says(server.post("/end_weight_update", Json::object()), 400,
                   "no weight update is open; weight update 1 was aborted: nothing came for"));
}

// A stream that has begun, and what becomes of it.
class Running {
 public:
  Running(const TestServer& server, int tokens) : connection_(server.port()) {
    connection_.send_request("POST", "/generate",
                             Json{{"input_ids", {5, 1, 77}},
                                  {"stream", true},
                                  {"sampling_params", {{"max_new_tokens", tokens}, {"ignore_eos", true}}}}
                                 .dump());
    head_ = connection_.read_head();
    connection_.read_chunk(head_);
  }
  Json finish() {
    while (connection_.read_chunk(head_)) {
    }
    return head_.pieces().back()["meta_info"];
  }

 private:
  Connection connection_;
  Response head_;
};

TEST_F(UpdateRoutes, PauseAndGoOn) {
  TestServer server(setup());
  for (const char* mode : {"abort", "retract", "in_place"}) {
    SCOPED_TRACE(mode);
    Running running(server, 400);
    EXPECT_EQ(server.post("/pause_generation", {{"mode", mode}}).json()["status"], "ok");
    EXPECT_EQ(server.get("/is_paused").json()["is_paused"], true);
    // A request waits meanwhile.
    Connection waiting(server.port());
    waiting.send_request("POST", "/generate",
                         Json{{"input_ids", {1}}, {"sampling_params", {{"max_new_tokens", 2}}}}.dump());
    ASSERT_TRUE(TestServer::eventually([&] { return server->engine().metrics().waiting > 0; }));
    EXPECT_EQ(server.post("/continue_generation", Json::object()).json()["status"], "ok");
    EXPECT_EQ(waiting.read_response().status, 200);
    const Json meta = running.finish();
    EXPECT_EQ(meta["finish_reason"]["type"], std::string(mode) == "abort" ? "abort" : "length") << meta;
  }
  EXPECT_TRUE(says(server.post("/pause_generation", {{"mode", "sideways"}}), 400, "recompute, retract or in_place"));
  // vLLM: abort refuses new requests until resume, keep queues them.
  EXPECT_EQ(server.request("POST", "/pause?mode=abort").json()["status"], "paused");
  EXPECT_EQ(server.post("/generate", {{"input_ids", {1}}}).status, 503);
  EXPECT_EQ(server.request("POST", "/resume").json()["status"], "resumed");
  Running running(server, 300);
  EXPECT_EQ(server.request("POST", "/pause?mode=keep").status, 200);
  EXPECT_EQ(server.get("/is_paused").json()["is_paused"], true);
  EXPECT_EQ(server.request("POST", "/resume").status, 200);
  EXPECT_EQ(running.finish()["finish_reason"]["type"], "length");
  EXPECT_EQ(server.get("/is_paused").json()["is_paused"], false);
  EXPECT_EQ(server.request("POST", "/pause?mode=other").status, 400);
}

// A request in the background, and what was said of its tokens.
class Background {
 public:
  explicit Background(TestServer& server, int tokens) : connection_(server.port()) {
    const auto made = [&] { return server->engine().metrics().generation_tokens; };
    const auto before = made();
    connection_.send_request("POST", "/generate",
                             Json{{"input_ids", kPrompt},
                                  {"sampling_params", {{"max_new_tokens", tokens}, {"ignore_eos", true}}},
                                  {"return_logprob", true}}
                                 .dump());
    EXPECT_TRUE(TestServer::eventually([&] { return made() > before; }));
  }
  Json finish() { return connection_.read_response().json()["meta_info"]; }
  // Of the tokens from `at` on, as the answer has them.
  static std::vector<float> logprobs(const Json& meta, std::size_t at) {
    std::vector<float> out;
    for (std::size_t i = at; i < at + kCompared; ++i) out.push_back(meta["output_token_logprobs"][i][0].get<float>());
    return out;
  }
  // As a fresh process says of the same tokens on the weights of a folder.
  static std::vector<float> scores(const Json& meta, std::size_t at, const std::string& folder) {
    std::vector<std::int32_t> tokens = kPrompt;
    for (std::size_t i = 0; i < at + kCompared; ++i) {
      tokens.push_back(meta["output_token_logprobs"][i][1].get<std::int32_t>());
    }
    const engine::Scores all = test::scores_of(folder, tokens, 0);
    std::vector<float> out;
    for (std::size_t i = 0; i < kCompared; ++i)
      out.push_back(static_cast<float>(all.logprobs[kPrompt.size() + at + i]));
    return out;
  }

 private:
  static constexpr std::size_t kCompared = 16;
  inline static const std::vector<std::int32_t> kPrompt = {5, 1, 77};
  Connection connection_;
};

// What a pause keeps, an update that says nothing else keeps as well, in the way of the pause.
TEST_F(UpdateRoutes, APauseKeepsRequestsThroughAnUpdate) {
  struct Case {
    std::string pause, resume, in_flight;
    Json fields;
    bool session = false, kept = true;
  };
  TestServer server(setup());
  std::vector<std::unique_ptr<NewWeights>> all;
  std::string old = TestServer::model_folder();
  for (const Case& c :
       {Case{"/pause?mode=keep", "/resume", "in_place", Json::object()},
        Case{"/pause?mode=keep", "/resume", "in_place", Json{{"abort_all_requests", false}}, true},
        Case{"/pause_generation?mode=in_place", "/continue_generation", "in_place", Json::object(), true},
        Case{"/pause_generation?mode=retract", "/continue_generation", "recompute", Json::object()},
        Case{"/pause_generation?mode=retract", "/continue_generation", "recompute", Json::object(), true},
        Case{"/pause?mode=keep", "/resume", "recompute", Json{{"policy", "recompute"}}},
        Case{"/pause?mode=keep", "/resume", "abort", Json{{"policy", "abort"}}, false, false},
        Case{"/pause?mode=keep", "/resume", "abort", Json{{"abort_all_requests", true}}, false, false},
        Case{"/pause?mode=abort", "/resume", "abort", Json::object(), false, false}}) {
    SCOPED_TRACE(c.pause + " " + c.fields.dump() + (c.session ? " in a session" : ""));
    const NewWeights& weights = *all.emplace_back(std::make_unique<NewWeights>(20 + all.size()));
    Background running(server, 3000);
    ASSERT_EQ(server.request("POST", c.pause).status, 200);
    Json fields = c.fields;
    Response r;
    if (c.session) {
      ASSERT_EQ(server.post("/begin_weight_update", Json::object()).status, 200);
      ASSERT_EQ(server.request("POST", "/update_weights_from_tensor", weights.files[0], kTensors).status, 200);
      r = server.post("/end_weight_update", fields);
    } else {
      fields["model_path"] = weights.folder;
      r = server.post("/update_weights_from_disk", fields);
      EXPECT_EQ(r.json()["num_paused_requests"], c.kept ? 1 : 0);
    }
    ASSERT_EQ(r.status, 200) << r.body;
    EXPECT_EQ(r.json()["in_flight"], c.in_flight);
    EXPECT_EQ(server.get("/is_paused").json()["is_paused"], true);
    ASSERT_EQ(server.request("POST", c.resume).status, 200);
    const Json meta = running.finish();
    EXPECT_EQ(meta["finish_reason"]["type"], c.kept ? "length" : "abort");
    if (c.kept) {
      ASSERT_EQ(meta["weight_versions"].size(), 2u) << meta["weight_versions"];
      const auto at = meta["weight_versions"][1]["start"].get<std::size_t>();
      const std::vector<float> said = Background::logprobs(meta, at);
      EXPECT_NE(said, Background::scores(meta, at, old));
      EXPECT_EQ(said == Background::scores(meta, at, weights.folder), c.in_flight == "recompute");
    }
    old = weights.folder;
  }
  // Resumed: the server's own policy again, or what the client asks for.
  Background running(server, 3000);
  Response r = server.post("/update_weights_from_disk", {{"model_path", old}, {"abort_all_requests", false}});
  EXPECT_EQ(r.json()["in_flight"], "recompute");
  EXPECT_EQ(r.json()["num_paused_requests"], 1);
  EXPECT_EQ(running.finish()["finish_reason"]["type"], "length");
  EXPECT_EQ(server.post("/update_weights_from_disk", {{"model_path", old}}).json()["in_flight"], "abort");
}

// Paused means that no token is made; a pause that waits comes after the last one.
TEST_F(UpdateRoutes, PausedIsStill) {
  TestServer server(setup());
  const auto made = [&] { return server->engine().metrics().generation_tokens; };
  {
    Running running(server, 2000);
    EXPECT_EQ(server.request("POST", "/pause?mode=keep").status, 200);
    const auto tokens = made();
    for (int i = 0; i < 5; ++i) server.post("/weights_checker", {{"action", "checksum"}});  // between two steps
    EXPECT_EQ(made(), tokens);
    EXPECT_LT(tokens, 2000u);
    EXPECT_EQ(server.request("POST", "/resume").status, 200);
    EXPECT_EQ(running.finish()["completion_tokens"], 2000);
  }
  Running running(server, 1000);
  EXPECT_EQ(server.request("POST", "/pause?mode=wait").status, 200);
  EXPECT_EQ(made(), 3000u);
  EXPECT_EQ(running.finish()["completion_tokens"], 1000);
  EXPECT_EQ(server.post("/generate", {{"input_ids", {1}}}).status, 503);
  EXPECT_EQ(server.request("POST", "/resume").status, 200);
  EXPECT_EQ(server.post("/generate", {{"input_ids", {1}}}).status, 200);
}

// A commit that waits for a request: the rest of the server answers, and it can be called off.
TEST_F(UpdateRoutes, AWaitingCommitStopsNobody) {
  TestServer server(setup());
  const NewWeights weights(2);
  const Json before = logprobs(server);
  for (const bool called_off : {true, false}) {
    SCOPED_TRACE(called_off);
    auto running = std::make_unique<Running>(server, 30'000);
    ASSERT_EQ(server.post("/begin_weight_update", Json::object()).status, 200);
    ASSERT_EQ(server.request("POST", "/update_weights_from_tensor", weights.files[0], kTensors).status, 200);
    Connection commit(server.port());
    commit.send_request("POST", "/end_weight_update", R"({"policy": "wait", "weight_version": "late"})");
    ASSERT_TRUE(TestServer::eventually([&] { return server.get("/weight_update").json()["state"] == "committing"; }));
    EXPECT_EQ(server.get("/health").status, 200);
    EXPECT_EQ(server.get("/weight_info").json()["weight_version"], "default");
    EXPECT_EQ(server.post("/begin_weight_update", Json::object()).status, 400);
    EXPECT_EQ(server.post("/weights_checker", {{"action", "snapshot"}}).status, 200);
    EXPECT_EQ(server.request("POST", "/update_weights", weights.files[0], kTensors).status, 400);
    EXPECT_EQ(server.get("/weight_update").json()["state"], "committing") << "a late sender ends nothing";
    if (called_off) {
      EXPECT_EQ(server.request("POST", "/abort_weight_update").json()["aborted"], true);
    }
    running.reset();  // its connection ends, and with it the request
    const Response done = commit.read_response();
    EXPECT_EQ(done.status, called_off ? 400 : 200) << done.body;
    EXPECT_EQ(generate(server)["weight_version"], called_off ? "default" : "late");
    EXPECT_EQ(without_text(logprobs(server)), called_off ? without_text(before) : fresh_logprobs(weights.folder));
  }
}

TEST_F(UpdateRoutes, SleepAndMemory) {
  TestServer server(setup());
  const Json before = logprobs(server);
  const NewWeights weights(6);
  for (const char* release : {"/release_memory_occupation", "/sleep?level=1&mode=keep"}) {
    SCOPED_TRACE(release);
    const bool vllm = std::string_view(release).starts_with("/sleep");
    EXPECT_EQ(server.request("POST", release).status, 200);
    EXPECT_EQ(server.get("/is_sleeping").json()["is_sleeping"], vllm);
    // There is no cache: a request waits.
    Connection waiting(server.port());
    waiting.send_request("POST", "/generate",
                         Json{{"input_ids", {1}}, {"sampling_params", {{"max_new_tokens", 2}}}}.dump());
    ASSERT_TRUE(TestServer::eventually([&] { return server->engine().metrics().waiting > 0; }));
    // The weights are updated while the cache is away, as verl does.
    EXPECT_EQ(server.post("/resume_memory_occupation", {{"tags", {"weights"}}}).body, "null");
    EXPECT_EQ(server.request("POST", "/wake_up?tags=weights").json()["status"], vllm ? "sleeping" : "awake");
    const Response r = server.post("/update_weights_from_disk", {{"model_path", weights.folder}, {"policy", "keep"}});
    EXPECT_EQ(r.status, 200) << r.body;
    if (vllm) {
      EXPECT_EQ(server.request("POST", "/wake_up").json()["status"], "awake");
    } else {
      EXPECT_EQ(server.post("/resume_memory_occupation", {{"tags", {"kv_cache"}}}).body, "null");
    }
    EXPECT_EQ(server.get("/is_sleeping").json()["is_sleeping"], false);
    const Json waited = waiting.read_response().json()["meta_info"];
    EXPECT_EQ(waited["weight_version"], r.json()["weight_version"]);
    EXPECT_EQ(waited["completion_tokens"], 2);
    EXPECT_EQ(without_text(logprobs(server)), fresh_logprobs(weights.folder));
  }
  EXPECT_TRUE(says(server.post("/resume_memory_occupation", {{"tags", {"nope"}}}), 400,
                   R"(tags: \"nope\" is none of weights, kv_cache, cuda_graph)"));
  EXPECT_EQ(server.post("/release_memory_occupation", {{"tags", {"weihgts"}}}).status, 400);
  EXPECT_EQ(server.request("POST", "/reset_prefix_cache").status, 200);
  EXPECT_EQ(generate(server)["cached_tokens"], 0);
}

TEST_F(UpdateRoutes, AsleepNewRequestsAreRefused) {
  TestServer server(setup());
  const Json prompt = {{"model", "tiny"}, {"prompt", {5, 1, 77}}, {"max_tokens", 2}};
  for (const char* sleep : {"/sleep", "/sleep?mode=wait&level=2", "/sleep?level=0"}) {
    SCOPED_TRACE(sleep);
    EXPECT_EQ(server.request("POST", sleep).status, 200);
    for (const char* path : {"/v1/completions", "/health_generate"}) {
      const Response r = std::string_view(path) == "/health_generate" ? server.get(path) : server.post(path, prompt);
      EXPECT_TRUE(says(r, 503, "the engine is asleep; /wake_up ends that")) << path;
    }
    for (const char* path : {"/resume", "/continue_generation"}) {
      EXPECT_TRUE(says(server.request("POST", path), 400, "the engine is asleep; /wake_up ends that")) << path;
    }
    EXPECT_EQ(server.request("POST", "/pause?mode=abort").status, 200);
    EXPECT_TRUE(says(server.request("POST", "/wake_up?tags=nope"), 400,
                     R"(tags: \"nope\" is none of weights, kv_cache, cuda_graph)"));
    EXPECT_TRUE(says(server.post("/v1/completions", prompt), 503, "the engine is asleep"));
    EXPECT_EQ(server.get("/is_paused").json()["is_paused"], true);
    EXPECT_EQ(server.get("/is_sleeping").json()["is_sleeping"], true);
    EXPECT_EQ(server.request("POST", "/wake_up?tags=weights").json()["status"], "sleeping");
    EXPECT_EQ(server.request("POST", "/wake_up").json()["status"], "awake");
    EXPECT_EQ(server.post("/v1/completions", prompt).status, 200);
    EXPECT_EQ(server.request("POST", "/resume").status, 200);
  }
  // A sleep that cannot be stops nobody.
  EXPECT_EQ(server.post("/begin_weight_update", Json::object()).status, 200);
  EXPECT_TRUE(says(server.request("POST", "/sleep"), 400, "weight update 1 is open"));
  EXPECT_EQ(server.get("/is_paused").json()["is_paused"], false);
  EXPECT_EQ(server.post("/v1/completions", prompt).status, 200);
}

// A request in flight that a sleep keeps is computed again: its keys and values went with the cache.
TEST_F(UpdateRoutes, SleepKeepsARequestThroughAnUpdate) {
  TestServer server(setup());
  const NewWeights weights(7);
  Background running(server, 3000);
  EXPECT_EQ(server.request("POST", "/sleep?level=1&mode=keep").status, 200);
  const Response r = server.post("/update_weights_from_disk", {{"model_path", weights.folder}});
  EXPECT_EQ(r.json()["in_flight"], "recompute") << r.body;
  EXPECT_EQ(r.json()["num_paused_requests"], 1);
  EXPECT_EQ(server.request("POST", "/wake_up").json()["status"], "awake");
  const Json meta = running.finish();
  EXPECT_EQ(meta["finish_reason"]["type"], "length");
  const auto at = meta["weight_versions"][1]["start"].get<std::size_t>();
  EXPECT_EQ(Background::logprobs(meta, at), Background::scores(meta, at, weights.folder));
}

TEST_F(UpdateRoutes, OtherWaysForTensorsAreRefused) {
  TestServer server(setup());
  for (const char* path : {"/update_weights_from_distributed", "/update_weights_from_ipc", "/collective_rpc"}) {
    EXPECT_TRUE(says(server.post(path, Json::object()), 400, "NCCL and CUDA IPC are not spoken here")) << path;
  }
}

TEST_F(UpdateRoutes, TurnedOffTheyNameTheFlag) {
  test::ServerSetup without = test::long_setup();
  without.more = [](RouteTable& table, ServeContext&) { add_absent_update_routes(table, "--no-weight-updates"); };
  TestServer server(without);
  for (const char* path :
       {"/pause", "/update_weights_from_disk", "/sleep", "/abort_weight_update", "/collective_rpc"}) {
    EXPECT_TRUE(says(server.post(path, Json::object()), 404, "--no-weight-updates")) << path;
  }
  EXPECT_TRUE(says(server.get("/weight_update"), 404, "--no-weight-updates"));
  EXPECT_TRUE(says(server.request("POST", "/update_weights_from_tensor", std::string(1000, 'x'), kTensors), 404,
                   "--no-weight-updates"));
  EXPECT_EQ(generate(server)["completion_tokens"], 8);
}

}  // namespace
}  // namespace octavo::serve
