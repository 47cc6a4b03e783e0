// octavo bench and octavo doctor as a user runs them: what the JSON holds, and what is refused.
#include <gtest/gtest.h>

#include "octavo/base/cpu.h"
#include "octavo/base/json.h"
#include "octavo/base/placement.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"

namespace octavo {
namespace {

using Args = std::vector<std::string>;
using test::run_octavo;

class Bench : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = std::make_unique<test::TempDir>();
    test::tiny_decoder().write(*dir_ / "m");  // no tokenizer: none is needed
  }
  static void TearDownTestSuite() { dir_.reset(); }
  static test::CommandResult bench(Args more) {
    more.insert(more.begin(), {"bench", *dir_ / "m", "--probe-memory", "64MiB"});
    return run_octavo(more);
  }
  static Json object(const test::CommandResult& run) {
    EXPECT_EQ(run.exit_code, 0) << run.err;
    const auto json = parse_json(run.out, "output");
    EXPECT_TRUE(json.ok()) << run.out;
    return json.ok() ? *json : Json::object();
  }
  static std::unique_ptr<test::TempDir> dir_;
};
std::unique_ptr<test::TempDir> Bench::dir_;

void expect_positive(const Json& object, const Args& keys) {
  for (const std::string& key : keys) {
    ASSERT_TRUE(object.contains(key) && object[key].is_number()) << key << " in " << object;
    EXPECT_GT(object[key].get<double>(), 0) << key;
  }
}

TEST_F(Bench, JsonHasEveryKey) {
  const Json json = object(bench({"--threads", "1,2", "--pp", "40", "--tg", "10", "--batch", "1,2", "--repetitions",
                                  "1", "--quantization", "fp8_block", "--json"}));
  EXPECT_EQ(json["model"], (*dir_ / "m").string());
  EXPECT_EQ(json["synthetic"], false);
  EXPECT_EQ(json["threads"], 2) << "the top level is the run of the most threads";
  EXPECT_EQ(json["repetitions"], 1);
  EXPECT_NE(json["precision"].get<std::string>().find("F8_E4M3 128x128 blocks"), std::string::npos);
  expect_positive(json, {"load_seconds", "first_token_seconds", "resident_bytes", "peak_memory_bytes"});
  const Args rates = {"tokens_per_s", "gb_per_s", "gflop_per_s", "ratio", "bytes", "flops"};
  expect_positive(json["decode"], rates);
  expect_positive(json["prefill"], rates);
  expect_positive(json["limits"], {"dram_gb_per_s", "fma_gflop_per_s", "dram_bytes"});
  EXPECT_EQ(json["limits"]["bf16_gflop_per_s"].is_number(), has_isa(Isa::kAvx512Bf16));
  EXPECT_EQ(json["decode"]["name"], "tg10");
  EXPECT_EQ(json["prefill"]["name"], "pp40");
  for (const char* limit : {"dram_gb_per_s", "fma_gflop_per_s"}) {
    expect_positive(json["limits"]["spread"][limit], {"median", "min", "max"});
  }
  ASSERT_EQ(json["runs"].size(), 2u);
  EXPECT_EQ(json["runs"][0]["threads"], 1);
  ASSERT_EQ(json["runs"][1]["tests"].size(), 3u);
  EXPECT_EQ(json["runs"][1]["decode"], json["decode"]);
  for (const Json& test : json["runs"][0]["tests"]) {
    for (const char* key : {"seconds", "tokens_per_s", "gb_per_s", "gflop_per_s", "ratio"}) {
      expect_positive(test["spread"][key], {"median", "min", "max"});
    }
  }
}

// GB/s counts the head as it is read.
TEST_F(Bench, AnFp8HeadIsFewerBytes) {
  const Args tests = {"--threads", "1", "--pp", "0", "--tg", "4", "--batch", "1", "--repetitions", "1", "--json"};
  const Json stored = object(bench(tests));
  Args more = tests;
  more.insert(more.end(), {"--lm-head", "fp8"});
  const Json fp8 = object(bench(more));
  EXPECT_NE(fp8["precision"].get<std::string>().find("lm_head F8_E4M3 per channel"), std::string::npos);
  constexpr double kBf16 = 320 * 128 * 2, kFp8 = 320 * (128 + 4);
  EXPECT_EQ(stored["decode"]["bytes"].get<double>() - fp8["decode"]["bytes"].get<double>(), 4 * (kBf16 - kFp8));
}

TEST_F(Bench, TextNamesTheLimits) {
  const auto run = bench(
      {"--threads", "1", "--pp", "20", "--tg", "5", "--batch", "1", "--repetitions", "1", "--quantization", "none"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  for (const char* part :
       {"BF16; activations BF16", "loaded in", "tokens/s", "pp20", "tg5", "% (", "DRAM read", "FP32 FMA"}) {
    EXPECT_NE(run.out.find(part), std::string::npos) << part << " in\n" << run.out;
  }
  EXPECT_EQ(run.err, "") << "progress is for terminals";
}

TEST_F(Bench, TestsCanBeLeftOut) {
  const Json decode = object(bench({"--pp", "0", "--tg", "4", "--batch", "1", "--repetitions", "1", "--json"}));
  EXPECT_FALSE(decode.contains("prefill"));
  EXPECT_TRUE(decode.contains("decode"));
  const Json prefill = object(bench({"--pp", "4", "--tg", "0", "--repetitions", "1", "--json"}));
  EXPECT_FALSE(prefill.contains("decode"));
  EXPECT_EQ(prefill["tests"].size(), 1u);
}

TEST_F(Bench, WrongCommands) {
  const struct {
    Args args;
    int exit_code;
    const char* says;
  } kCases[] = {
      {{"bench", "--synthetic", "qwen3-06b"}, 2, "--synthetic qwen3-06b: unknown; one of qwen3-0.6b"},
      {{"bench", "--synthetic", "qwen3-06b"}, 2, "did you mean qwen3-0.6b?"},
      {{"bench"}, 2, "say which model"},
      {{"bench", *dir_ / "m", "--synthetic", "qwen3-0.6b"}, 2, "exclude each other"},
      {{"bench", *dir_ / "m", "--threads", "0"}, 2, "--threads"},
      {{"bench", *dir_ / "m", "--threads", "1,x"}, 2, "--threads"},
      {{"bench", *dir_ / "m", "--batch", "0"}, 2, "--batch"},
      {{"bench", *dir_ / "m", "--repetitions", "0"}, 2, "--repetitions"},
      {{"bench", *dir_ / "m", "--pp", "0", "--tg", "0"}, 2, "leave nothing to measure"},
      {{"bench", *dir_ / "m", "--context", "5"}, 2, "unknown option --context"},
      {{"bench", *dir_ / "m", "--quantization", "fp9"}, 2, "--quantization fp9: unknown"},
      {{"bench", *dir_ / "m", "--probe-memory", "much"}, 2, "--probe-memory"},
      {{"bench", *dir_ / "m", "--cpu-affinity", "0-"}, 2, "--cpu-affinity 0-: must be off, auto or CPUs"},
      {{"bench", *dir_ / "m", "--cpu-affinity", "8000"}, 1, "CPU 8000 does not exist"},
      {{"bench", *dir_ / "nobody"}, 1, "nobody"},
      {{"bench", *dir_ / "m", "--pp", "1000"}, 1, "the model has 512 positions"},
      {{"bench", "--synthetic", "qwen3-0.6b", "--quantization", "fp8_block", "--keep-first", "1", "--threads", "1"},
       2,
       "--keep-first goes with the folder of a model"},
  };
  for (const auto& c : kCases) {
    const auto run = run_octavo(c.args);
    EXPECT_EQ(run.exit_code, c.exit_code) << c.says << "\n" << run.err;
    EXPECT_NE(run.err.find(c.says), std::string::npos) << c.says << "\n" << run.err;
  }
}

TEST_F(Bench, RunsWhereItIsPut) {
  const Json json = object(bench({"--cpu-affinity", std::to_string(allowed_cpus().front()), "--pp", "0", "--tg", "4",
                                  "--batch", "1", "--repetitions", "1", "--json"}));
  EXPECT_EQ(json["threads"], 1) << "as many threads as CPUs";
  const Json both = object(
      bench({"--cpu-affinity", "auto", "--threads", "1,2", "--pp", "4", "--tg", "0", "--repetitions", "1", "--json"}));
  EXPECT_EQ(both["runs"].size(), 2u);
}

TEST(Doctor, JsonHasEveryKey) {
  const auto run = run_octavo({"doctor", "--no-limits", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto json = parse_json(run.out, "output");
  ASSERT_TRUE(json.ok()) << run.out;
  for (const char* key :
       {"version", "cpu", "hardware_threads", "cores", "sockets", "cpus", "threads", "caches", "isa", "memory_bytes",
        "available_memory_bytes", "huge_pages", "numa_nodes", "governor", "container", "limits", "advice"}) {
    EXPECT_TRUE(json->contains(key)) << key;
  }
  EXPECT_EQ((*json)["isa"]["chosen"], isa_name(detect_isa()));
  EXPECT_EQ((*json)["isa"]["found"][0], "scalar");
  EXPECT_TRUE((*json)["limits"].empty());
}

TEST(Doctor, SaysWhatIsForced) {
  const auto run = run_octavo({"doctor", "--no-limits"}, {{"OCTAVO_ISA", "scalar"}});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.out.find("scalar of scalar"), std::string::npos) << run.out;
  if (detect_isa() != Isa::kScalar) {
    EXPECT_NE(run.out.find("OCTAVO_ISA forces scalar: without it"), std::string::npos) << run.out;
  }
}

}  // namespace
}  // namespace octavo
