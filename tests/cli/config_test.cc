// Other programs' configuration files through the real command: exit codes, what is printed, and what engines make of
// them.
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "octavo/base/json.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"
#include "tests/support/tiny_tokenizer.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;

fs::path samples_dir() { return fs::path(OCTAVO_SOURCE_DIR) / "tests/data/dialect"; }
std::string sample(const std::string& name) { return (samples_dir() / name).string(); }

class ConfigFiles : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = std::make_unique<TempDir>();
    CheckpointBuilder model = tiny_decoder();
    add_tiny_tokenizer(model);
    model.write(*dir_ / "m");
  }
  static void TearDownTestSuite() { dir_.reset(); }
  static std::string path(const std::string& name) { return (*dir_ / name).string(); }
  static std::unique_ptr<TempDir> dir_;
};
std::unique_ptr<TempDir> ConfigFiles::dir_;

TEST_F(ConfigFiles, EverySampleIsSound) {
  std::size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(samples_dir())) {
    if (entry.path().extension() != ".yaml") continue;
    const auto run = run_octavo({"config", "check", entry.path().string()});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_NE(run.out.find("scheme"), std::string::npos) << run.out;
    ++count;
  }
  EXPECT_GE(count, 15u);
}

// The first line of what is said; test_dialect compares all of it.
TEST_F(ConfigFiles, EveryBrokenVariantIsRefused) {
  std::istringstream lines(read_file(samples_dir() / "broken.txt"));
  std::string file, find, with;
  std::size_t count = 0;
  const auto unescaped = [](std::string text) {
    for (std::size_t at = 0; (at = text.find("\\n", at)) != std::string::npos; ++at) text.replace(at, 2, "\n");
    return text;
  };
  bool first = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("file: ")) {
      file = line.substr(6);
      first = true;
    }
    if (line.starts_with("find: ")) find = unescaped(line.substr(6));
    if (line.starts_with("with:")) with = line.size() > 6 ? unescaped(line.substr(6)) : "";
    if (!line.starts_with("says: ") || !first) continue;
    first = false;
    std::string text = read_file(samples_dir() / file);
    text.replace(text.find(find), find.size(), with);
    const fs::path path = *dir_ / fs::path(file).filename().string();
    write_file(path, text);
    const auto run = run_octavo({"config", "check", path.string()});
    EXPECT_EQ(run.exit_code, 2) << line;
    EXPECT_EQ(run.out, "");
    EXPECT_EQ(run.err.find("octavo config: " + path.string() + ":"), 0u) << run.err;
    // A sentence that names the file again is compared up to there.
    const std::string sentence = line.substr(6, line.find(path.filename().string()) - 6);
    EXPECT_NE(run.err.find(sentence), std::string::npos) << run.err << "\nwanted: " << sentence;
    ++count;
  }
  EXPECT_GE(count, 100u);
}

TEST_F(ConfigFiles, CheckAsJson) {
  const auto good = run_octavo({"config", "check", sample("nemo_rl/grpo_llama3.1-8b_fp8.yaml"), "--print-spec"});
  ASSERT_EQ(good.exit_code, 0) << good.err;
  const auto json = parse_json(good.out, "output");
  ASSERT_TRUE(json.ok()) << good.out;
  EXPECT_EQ(json->at("language"), "NeMo-RL");
  EXPECT_EQ(json->at("workers").at(0).at("spec").at("keep-last"), 3);
  EXPECT_EQ(json->at("warnings").size(), 1u);
  write_file(*dir_ / "b.yaml", "compression: {nam: PTQ}\n");
  const auto bad = run_octavo({"config", "check", path("b.yaml"), "--json"});
  EXPECT_EQ(bad.exit_code, 2);
  const auto errors = parse_json(bad.out, "output");
  ASSERT_TRUE(errors.ok()) << bad.out;
  EXPECT_EQ(errors->at("errors").size(), 4u) << bad.out;  // no model, no name, nam, no quantization
  EXPECT_EQ(run_octavo({"config", "check", path("none.yaml")}).exit_code, 1);
  EXPECT_EQ(run_octavo({"config", "chek", path("b.yaml")}).exit_code, 2);
}

TEST_F(ConfigFiles, EnginesTakeThemToo) {
  write_file(*dir_ / "roll.yaml",
             "pretrain: x\nactor_infer:\n  strategy_args:\n    strategy_name: vllm\n    strategy_config:\n      "
             "quantization: fp8\n      hf_overrides:\n        quantization_config: {activation_scheme: dynamic, fmt: "
             "e4m3, quant_method: fp8, weight_block_size: [128, 128]}\n");
  const std::string input = "{\"token_ids\": [5, 9, 33, 70, 2]}\n";
  const auto score = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"score", path("m"), "-q", "--activations", "fp8"});
    return run_octavo(more, {}, input);
  };
  const auto block = score({"--quantization", "fp8_block"});
  ASSERT_EQ(block.exit_code, 0) << block.err;
  const auto from = score({"--from", path("roll.yaml")});
  ASSERT_EQ(from.exit_code, 0) << from.err;
  EXPECT_EQ(from.out, block.out);
  const auto config = score({"--quantization-config", R"({"linear": "fp8_per_block", "moe": "fp8_per_block"})"});
  EXPECT_EQ(config.out, block.out) << config.err;
  const auto kept = score({"--quantization", "fp8_block", "--quantization-config", R"({"ignore": ["*.mlp.*"]})"});
  EXPECT_EQ(kept.exit_code, 0) << kept.err;
  EXPECT_NE(kept.out, block.out);
  EXPECT_EQ(kept.out, score({"--quantization", "fp8_block", "--ignore", "*.mlp.*"}).out);

  const auto refused = [&](std::vector<std::string> more, const std::string& sentence) {
    const auto run = score(std::move(more));
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_NE(run.err.find(sentence), std::string::npos) << run.err;
  };
  refused({"--from", path("roll.yaml"), "--quantization", "fp8"}, "--from and --quantization exclude each other");
  refused({"--from", path("roll.yaml"), "--worker", "actor_inf"}, "did you mean actor_infer?");
  refused({"--from", sample("angelslim/hunyuan_channel.yaml")}, "octavo quantize takes it");
  refused({"--worker", "x"}, "--worker goes with --from");
  refused({"--quantization", "mxfp4"}, "--quantization mxfp4 is not FP8");
  refused({"--quantization", "online"}, "--quantization online needs --quantization-config");
  refused({"--quantization-config", "{\"linear\": {\"weight\": \"fp8_per_block\", \"activation\": \"x\"}}"},
          "linear.activation: cannot be chosen");
  refused({"--quantization-config", R"({"linear":"fp8_per_block","ignore":["a"]})", "--ignore", "b"},
          "both say which modules stay as they are");
}

}  // namespace
}  // namespace octavo::test
