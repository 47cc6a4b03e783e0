// A server with the tiny model, and what tests ask of it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "octavo/engine/score.h"
#include "octavo/serve/server.h"
#include "tests/engine/open_tiny.h"
#include "tests/serve/connection.h"

namespace octavo::test {

// What `octavo score` says of these tokens.
inline engine::Scores scores_of(const std::string& folder, const std::vector<std::int32_t>& tokens, int top) {
  engine::RunnerOptions options;
  options.context = tokens.size();
  engine::Runner runner = open_model(folder, options);
  engine::Scores out;
  const std::vector<std::vector<std::int32_t>> sequences = {tokens};
  const Status status = engine::score(runner, sequences, top, [&](std::size_t, engine::Scores scores) {
    out = std::move(scores);
    return Status();
  });
  EXPECT_TRUE(status.ok());
  return out;
}

struct ServerSetup {
  engine::EngineOptions engine{.max_num_batched_tokens = 64, .max_num_seqs = 8, .max_model_len = 256};
  serve::HttpOptions http{};
  std::uint64_t cache_tokens = 4096;
  serve::AddRoutes more;
  bool chat_template = true;
  std::string template_file;  // --chat-template
};

// With room for requests that take so long that what happens to them meanwhile is no question of luck.
inline ServerSetup long_setup() {
  ServerSetup out;
  out.engine.max_model_len = 40'000;
  out.cache_tokens = 100'000;
  return out;
}

class TestServer {
 public:
  explicit TestServer(ServerSetup setup = {}) {
    engine::RunnerOptions options = engine::runner_options(setup.engine, {});
    options.cache_tokens = setup.cache_tokens;
    options.load.isa = detect_isa();
    options.load.threads = 2;
    engine::RunnerFolder folder = std::move(engine::read_runner_folder(model_folder())).value();
    serve::ServedModel model =
        std::move(serve::served_model(folder, model_folder(), {"tiny", "other"}, setup.template_file)).value();
    if (!setup.chat_template) model.chat.reset();
    engine::Runner runner = std::move(engine::open_runner(std::move(folder), options)).value();
    setup.http.port = 0;
    auto started = serve::Server::start(std::move(engine::Engine::create(std::move(runner), setup.engine)).value(),
                                        std::move(model), setup.http, setup.more);
    if (!started.ok()) throw std::runtime_error(started.error().message);
    server_ = std::move(*started);
  }

  static std::string model_folder() {
    static TempDir dir;
    TinyDecoder model;
    model.max_positions = 1 << 16;
    static const std::string path = tiny_chat_model(model).write(dir / "model").string();
    return path;
  }

  serve::Server& operator*() { return *server_; }
  serve::Server* operator->() { return server_.get(); }
  int port() const { return server_->http().port(); }

  // Over a connection of its own.
  Response request(std::string_view method, std::string_view target, std::string_view body = "",
                   std::string_view headers = "") const {
    Connection connection(port());
    connection.send_request(method, target, body, headers);
    return connection.read_response(method == "HEAD");
  }
  Response get(std::string_view target) const { return request("GET", target); }
  Response post(std::string_view target, const Json& body) const { return request("POST", target, body.dump()); }

  // Waits for a fact that another thread brings about.
  template <typename Fact>
  static bool eventually(const Fact& fact) {
    for (int i = 0; i < 2000; ++i) {
      if (fact()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  bool idle() {
    const engine::EngineMetrics m = server_->engine().metrics();
    return m.running + m.waiting == 0;
  }

 private:
  std::unique_ptr<serve::Server> server_;
};

}  // namespace octavo::test
