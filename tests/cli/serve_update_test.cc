// Weight updates of the built server as trainers send them, by their effect: what the next answers are made of. The
// truth is another server, started on the new weights with the same flags.
#include <gtest/gtest.h>

#include <thread>

#include "octavo/base/file.h"
#include "tests/cli/serve_process.h"
#include "tests/engine/open_tiny.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::Response;
using test::ServeProcess;

constexpr std::string_view kTensors = "Content-Type: application/octet-stream\r\n";

// A model's folder with weights of their own, and its tensors as one safetensors file.
struct Weights {
  explicit Weights(std::uint64_t seed) {
    test::TinyDecoder model;
    model.seed = seed;
    model.max_positions = 1 << 16;
    folder = test::tiny_chat_model(model).write(dir / "model").string();
    const File read = File::open_read(dir / "model" / "model.safetensors").value();
    file.resize(read.size());
    EXPECT_TRUE(read.read_at(0, as_writable_bytes(file)).ok());
  }
  test::TempDir dir;
  std::string folder, file;
};
const Weights& first_weights() {
  static const Weights weights(1);
  return weights;
}
const Weights& second_weights() {
  static const Weights weights(2);
  return weights;
}

class Server : public ServeProcess {
 public:
  explicit Server(const Weights& weights, std::vector<std::string> more = {}) : ServeProcess(arguments(weights, more)) {
    if (port() <= 0) throw std::runtime_error(text());
  }
  Response post(std::string_view target, const Json& body) const { return request("POST", target, body.dump()); }
  // Tokens and logprobs, bit for bit.
  Json answer() const { return meta()["output_token_logprobs"]; }
  Json meta() const {
    const Response r = post("/generate", {{"input_ids", {5, 1, 77, 9, 31}},
                                          {"sampling_params", {{"max_new_tokens", 8}, {"temperature", 0}}},
                                          {"return_logprob", true}});
    EXPECT_EQ(r.status, 200) << r.body;
    return r.json()["meta_info"];
  }
  Json state() const { return request("GET", "/weight_update").json(); }

 private:
  static std::vector<std::string> arguments(const Weights& weights, const std::vector<std::string>& more) {
    std::vector<std::string> out = {weights.folder, "--port",    "0", "--quantization", "fp8_block", "--max-model-len",
                                    "40000",        "--threads", "2"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
};

// What a server says that was started on the second weights.
const Json& second_answer() {
  static const Json answer = Server(second_weights()).answer();
  return answer;
}

TEST(ServeUpdate, SglangsRoutes) {
  const Server server(first_weights());
  const Json before = server.answer();
  ASSERT_NE(before, second_answer());
  EXPECT_EQ(server.meta()["weight_version"], "default");
  EXPECT_EQ(server.post("/begin_weight_update", Json::object()).status, 200);
  const Response sent = server.request("POST", "/update_weights_from_tensor", second_weights().file, kTensors);
  EXPECT_EQ(sent.status, 200) << sent.body;
  EXPECT_EQ(server.answer(), before) << "nothing changes before the end";
  const Response end = server.post("/end_weight_update", {{"weight_version", "step-1"}});
  EXPECT_EQ(end.status, 200) << end.body;
  EXPECT_EQ(end.json()["weight_version_number"], 2);
  EXPECT_EQ(server.answer(), second_answer());
  EXPECT_EQ(server.meta()["weight_version"], "step-1");
  // The connection is cut in the middle of the next one.
  {
    test::Connection cut(server.port());
    const std::string& file = first_weights().file;
    cut.send(
        fmt::format("POST /update_weights_from_tensor?whole=true HTTP/1.1\r\nHost: t\r\n{}Content-Length: {}\r\n\r\n",
                    kTensors, file.size()));
    cut.send(file.substr(0, file.size() * 2 / 3));
    while (server.state()["state"] != "updating") std::this_thread::yield();
  }
  while (server.state()["state"] != "idle") std::this_thread::yield();
  EXPECT_EQ(server.answer(), second_answer());
  EXPECT_EQ(server.meta()["weight_version"], "step-1");
  EXPECT_EQ(server.state()["weight_version_number"], 2);
  // And back, from a folder.
  const Response disk = server.post("/update_weights_from_disk", {{"model_path", first_weights().folder}});
  EXPECT_EQ(disk.status, 200) << disk.body;
  EXPECT_EQ(disk.json()["weight_version_number"], 3);
  EXPECT_EQ(server.answer(), before);
  EXPECT_EQ(server.meta()["weight_version"], "3");
}

TEST(ServeUpdate, VllmsRoutes) {
  const Server server(first_weights());
  const Json before = server.answer();
  EXPECT_EQ(server.request("POST", "/start_weight_update").json()["message"], "Weight update started");
  const Response sent = server.request("POST", "/update_weights", second_weights().file, kTensors);
  EXPECT_EQ(sent.status, 200) << sent.body;
  EXPECT_EQ(server.answer(), before);
  EXPECT_EQ(server.post("/finish_weight_update", {{"weight_version", "7"}}).json()["message"],
            "Weight update finished");
  EXPECT_EQ(server.answer(), second_answer());
  EXPECT_EQ(server.request("GET", "/weight_info").json()["weight_version"], "7");
  // Half a body, and the end of the connection.
  EXPECT_EQ(server.request("POST", "/start_weight_update").status, 200);
  {
    test::Connection cut(server.port());
    cut.send(fmt::format("POST /update_weights HTTP/1.1\r\nHost: t\r\n{}Content-Length: {}\r\n\r\n", kTensors,
                         first_weights().file.size()));
    cut.send(first_weights().file.substr(0, 100'000));
  }
  while (server.state()["state"] != "idle") std::this_thread::yield();
  EXPECT_EQ(server.post("/finish_weight_update", Json::object()).status, 400);
  EXPECT_EQ(server.answer(), second_answer());
}

// What becomes of a request in flight, as the server was told at its start.
TEST(ServeUpdate, Policies) {
  for (const std::string policy : {"abort", "wait", "keep"}) {
    SCOPED_TRACE(policy);
    const Server server(first_weights(), {"--update-policy", policy});
    constexpr int kTokens = 3000;
    test::Connection running(server.port());
    running.send_request("POST", "/generate",
                         Json{{"input_ids", {5, 1, 77}},
                              {"stream", true},
                              {"sampling_params", {{"max_new_tokens", kTokens}, {"ignore_eos", true}}}}
                             .dump());
    Response stream = running.read_head();
    ASSERT_TRUE(running.read_chunk(stream));
    const Response done = server.post("/update_weights_from_disk", {{"model_path", second_weights().folder}});
    ASSERT_EQ(done.status, 200) << done.body;
    EXPECT_EQ(done.json()["in_flight"], policy == "keep" ? "recompute" : policy);
    while (running.read_chunk(stream)) {
    }
    const Json last = stream.pieces().back();
    const Json& meta = last["meta_info"];
    const Json& versions = meta["weight_versions"];
    const int tokens = meta["completion_tokens"].get<int>();
    if (policy == "abort") {
      EXPECT_EQ(meta["finish_reason"]["type"], "abort");
      EXPECT_LT(tokens, kTokens);
      EXPECT_EQ(versions.size(), 1u) << versions;
    } else {
      EXPECT_EQ(meta["finish_reason"]["type"], "length");
      EXPECT_EQ(tokens, kTokens);
      EXPECT_EQ(versions.size(), policy == "wait" ? 1u : 2u) << versions;
    }
    EXPECT_EQ(versions[0]["version"], "default");
    EXPECT_EQ(server.answer(), second_answer());
  }
}

}  // namespace
}  // namespace octavo
