// octavo serve as a process: its address, its answers, its end; its configuration file; other servers' flags.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/cli/serve_process.h"
#include "tests/engine/open_tiny.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

std::string tiny_model() {
  static test::TempDir dir;
  static const std::string path = test::tiny_chat_model().write(dir / "model").string();
  return path;
}

TEST(Serve, AnswersAndDrains) {
  test::ServeProcess server({tiny_model(), "--port", "0", "--max-model-len", "256", "--served-model-name", "a", "b"});
  ASSERT_GT(server.port(), 0) << server.text();
  EXPECT_NE(server.text().find("a, b at http://"), std::string::npos) << server.text();
  EXPECT_EQ(server.request("GET", "/v1/models").json()["data"][1]["id"], "b");
  const Json body = {{"prompt", "the cat"}, {"max_tokens", 200}, {"temperature", 0}, {"ignore_eos", true}};
  test::Connection busy(server.port());
  busy.send_request("POST", "/v1/completions", body.dump());
  const test::Response whole = busy.read_response();
  EXPECT_EQ(whole.json()["usage"]["completion_tokens"], 200);
  busy.send_request("POST", "/v1/completions", body.dump());
  server.signal(SIGTERM);
  // Either it was begun and is finished, or the connection was closed before it was seen.
  if (const test::Response last = busy.read_response(); last.status != 0) {
    EXPECT_EQ(last.json()["choices"], whole.json()["choices"]);
  }
  busy.close();
  EXPECT_EQ(server.finish(), 0);
}

TEST(Serve, ConfigFile) {
  const test::TempDir dir;
  const std::string config = (dir / "serve.yaml").string();
  const auto write = [&](const std::string& more) {
    test::write_file(config,
                     fmt::format("model: {}\nport: 0\nmax_model_len: 128\nmax-num-seqs: 3\n{}", tiny_model(), more));
  };
  write(
      "served-model-name: [x, y]\nquantization: fp8\nhf_overrides:\n  quantization_config: {quant_method: fp8, "
      "activation_scheme: dynamic, fmt: e4m3, weight_block_size: [64, 64]}\nenable-prefix-caching: false\n");
  test::ServeProcess server({"--config", config, "--max-num-seqs", "2"});
  ASSERT_GT(server.port(), 0) << server.text();
  EXPECT_NE(server.text().find("F8_E4M3 64x64 blocks"), std::string::npos) << server.text();
  EXPECT_NE(server.text().find("2 requests"), std::string::npos) << server.text();
  EXPECT_EQ(server.request("GET", "/v1/models").json()["data"][0]["max_model_len"], 128);
  server.signal(SIGINT);
  EXPECT_EQ(server.finish(), 0);

  const auto error_of = [&](const std::string& more) {
    write(more);
    const auto run = test::run_octavo({"serve", "--config", config});
    EXPECT_EQ(run.exit_code, 2);
    return run.err;
  };
  EXPECT_NE(error_of("max_num_sqs: 4\n").find(config + ":5:1: max_num_sqs: no option of octavo serve; did you mean"),
            std::string::npos);
  EXPECT_NE(error_of("mem_fraction_static: 0.8\n").find("it is --gpu-memory-utilization here"), std::string::npos);
  EXPECT_NE(error_of("enable-prefix-caching: maybe\n").find("must be true or false"), std::string::npos);
  EXPECT_NE(error_of("hf_overrides: {rope_theta: 5}\n").find("--hf-overrides"), std::string::npos);
}

TEST(Serve, ChatTemplateFile) {
  const test::TempDir dir;
  const std::string file = (dir / "mine.jinja").string();
  test::write_file(file, "{% for m in messages %}[{{ m.content }}]{% endfor %}");
  test::ServeProcess server({tiny_model(), "--port", "0", "--chat-template", file});
  ASSERT_GT(server.port(), 0) << server.text();
  const Json messages = {{{"role", "user"}, {"content", "a"}}, {{"role", "user"}, {"content", "b"}}};
  const Json ids = server.request("POST", "/tokenize", Json({{"messages", messages}}).dump()).json()["tokens"];
  EXPECT_EQ(server.request("POST", "/detokenize", Json({{"tokens", ids}}).dump()).json()["prompt"], "[a][b]");
  test::write_file(file, "{% for m in messages %}");
  const auto run = test::run_octavo({"serve", tiny_model(), "--chat-template", file});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.err.find("--chat-template: "), std::string::npos) << run.err;
}

TEST(Serve, OtherServersFlags) {
  const auto error_of = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"serve", tiny_model()});
    const auto run = test::run_octavo(arguments);
    EXPECT_EQ(run.exit_code, 2) << run.err;
    return run.err.substr(0, run.err.find('\n'));
  };
  EXPECT_EQ(error_of({"--context-length", "100"}),
            "octavo serve: unknown option --context-length; it is --max-model-len here");
  EXPECT_EQ(error_of({"--max-num-seq", "8"}),
            "octavo serve: unknown option --max-num-seq; did you mean --max-num-seqs?");
  EXPECT_EQ(error_of({"--tensor-parallel-size", "8"}),
            "octavo serve: --tensor-parallel-size: one process serves one machine, all of its cores: leave it out");
  EXPECT_NE(error_of({"--api-key", ""}).find("--api-key: is empty"), std::string::npos);
  EXPECT_NE(error_of({"--update-policy", "never"}).find("--update-policy"), std::string::npos);
  EXPECT_NE(error_of({"--max-num-seqs", "100", "--max-num-batched-tokens", "50"}).find("--max-num-batched-tokens 50"),
            std::string::npos);
  EXPECT_NE(error_of({"--kv-memory", "1GiB", "--gpu-memory-utilization", "0.5"}).find("give one of them"),
            std::string::npos);
  EXPECT_NE(error_of({"--hf-overrides", "{\"a\": 1}"}).find("quantization_config"), std::string::npos);
}

TEST(Serve, AllUnknownFlagsAreNamed) {
  const auto run =
      test::run_octavo({"serve", tiny_model(), "--swap-space", "4", "--max-modl-len", "-3", "--xyzzyplugh"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.err,
            "octavo serve: unknown option --swap-space; nothing is swapped: leave it out\n"
            "unknown option --max-modl-len; did you mean --max-model-len?\n"
            "unknown option --xyzzyplugh\n"
            "Run `octavo serve --help`.\n");
  const test::TempDir dir;
  const std::string file = (dir / "serve.yaml").string();
  test::write_file(file, "max-num-seqz: 4\nport: 0\nfoo: 1\n");
  const auto config = test::run_octavo({"serve", tiny_model(), "--config", file});
  EXPECT_EQ(config.exit_code, 2);
  EXPECT_NE(config.err.find(":1:1: max-num-seqz: no option of octavo serve; did you mean max-num-seqs?\n"),
            std::string::npos)
      << config.err;
  EXPECT_NE(config.err.find(":3:1: foo: no option of octavo serve"), std::string::npos) << config.err;
}

}  // namespace
}  // namespace octavo
