// quantize -c, --recipe and --print-spec: a file does what its flags do, to the byte.
#include <gtest/gtest.h>

#include <filesystem>

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

class QuantizeFiles : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = std::make_unique<TempDir>();
    CheckpointBuilder model = tiny_decoder();
    add_tiny_tokenizer(model);
    model.write(*dir_ / "m");
  }
  static void TearDownTestSuite() { dir_.reset(); }
  static std::string path(const std::string& name) { return (*dir_ / name).string(); }
  // An AngelSlim file for the model here; its output is OUT/STEM.
  static std::string angelslim(const std::string& stem, const std::string& quantization) {
    write_file(*dir_ / (stem + ".yaml"), "global: {save_path: " + path("out") +
                                             "}\nmodel: {name: Qwen, model_path: " + path("m") +
                                             "}\ncompression:\n  name: PTQ\n  quantization: " + quantization + "\n");
    return path(stem + ".yaml");
  }
  // Every file of two folders is the same, byte for byte.
  static void expect_same(const fs::path& a, const fs::path& b) {
    std::size_t files = 0;
    for (const auto& entry : fs::directory_iterator(a)) {
      EXPECT_EQ(read_file(entry.path()), read_file(b / entry.path().filename())) << entry.path();
      ++files;
    }
    EXPECT_GE(files, 3u);
  }
  static std::unique_ptr<TempDir> dir_;
};
std::unique_ptr<TempDir> QuantizeFiles::dir_;

TEST_F(QuantizeFiles, AngelSlimDoesWhatItsFlagsDo) {
  const std::string file = angelslim("tensor", "{name: fp8_dynamic, ignore_layers: [lm_head, o_proj]}");
  const auto run = run_octavo({"quantize", "-c", file, "-q"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto flags = run_octavo({"quantize", path("m"), "-o", path("flags"), "--scheme", "tensor", "--ignore",
                                 "lm_head", "--ignore", "*o_proj*", "-q"});
  ASSERT_EQ(flags.exit_code, 0) << flags.err;
  expect_same(path("flags"), path("out/tensor"));
}

TEST_F(QuantizeFiles, RecipeDoesWhatItsFlagsDo) {
  write_file(*dir_ / "r.yaml",
             "quant_stage: {quant_modifiers: {QuantizationModifier: {scheme: FP8_BLOCK, targets: ['re:.*mlp.*', "
             "model.layers.0.self_attn.q_proj], ignore: ['re:.*down_proj$']}}}\n");
  const auto run = run_octavo({"quantize", path("m"), "-o", path("recipe"), "--recipe", path("r.yaml")});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto flags = run_octavo({"quantize", path("m"), "-o", path("recipe_flags"), "--scheme", "block", "--format",
                                 "compressed-tensors", "--only", "re:.*mlp.*", "--only",
                                 "model.layers.0.self_attn.q_proj", "--ignore", "re:.*down_proj$"});
  ASSERT_EQ(flags.exit_code, 0) << flags.err;
  expect_same(path("recipe_flags"), path("recipe"));
}

TEST_F(QuantizeFiles, PrintSpecDoesNothingElse) {
  const std::string file = angelslim("print", "{name: fp8_blockwise, quant_method: {block_size: [64, 128]}}");
  const auto run = run_octavo({"quantize", "-c", file, "--print-spec"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto json = parse_json(run.out, "output");
  ASSERT_TRUE(json.ok()) << run.out;
  EXPECT_EQ(json->at("model"), path("m"));
  EXPECT_EQ(json->at("output"), path("out/print"));
  EXPECT_EQ(json->at("spec").at("block-size"), "64x128");
  EXPECT_EQ(json->at("spec").at("format"), "fp8");
  EXPECT_FALSE(fs::exists(path("out/print")));
  // Of flags alone, too.
  const auto flags = run_octavo({"quantize", "--scheme", "tensor", "--print-spec"});
  ASSERT_EQ(flags.exit_code, 0) << flags.err;
  EXPECT_NE(flags.out.find("\"scheme\": \"tensor\""), std::string::npos);
}

TEST_F(QuantizeFiles, ContradictionsNameBoth) {
  const std::string file =
      angelslim("c", "{name: fp8_dynamic, save_name: compressed-tensors, ignore_layers: [lm_head]}");
  const std::string place = file + ":5:18: compression.quantization.name, which means --scheme tensor";
  const auto row = [&](std::vector<std::string> more, const std::string& sentence) {
    more.insert(more.begin(), {"quantize", "-c", file, "-o", path("never")});
    const auto run = run_octavo(more);
    EXPECT_EQ(run.exit_code, 2) << run.out;
    EXPECT_NE(run.err.find(sentence), std::string::npos) << run.err;
  };
  row({"--scheme", "block"}, "--scheme block contradicts " + place);
  row({"--format", "fp8"}, "--format fp8 contradicts " + file + ":5:");
  row({"--ignore", "q_proj"}, "compression.quantization.ignore_layers, which means --ignore lm_head");
  row({"--lm-head"}, "--lm-head contradicts");
  row({"--recipe", file}, "-c and --recipe exclude each other");
  EXPECT_FALSE(fs::exists(path("never")));
  // What the file does not decide may be said beside it, and MODEL and the output say where, not what.
  const auto beside = run_octavo({"quantize", path("m"), "-c", file, "-o", path("beside"), "--only", "re:.*mlp.*",
                                  "--scheme", "tensor", "--dry-run"});
  EXPECT_EQ(beside.exit_code, 0) << beside.err;
  EXPECT_NE(beside.err.find("the output is " + path("beside") + ", as the command line says, not " + path("out/c")),
            std::string::npos)
      << beside.err;
  const auto wrong = run_octavo({"quantize", "--recipe", file});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_NE(wrong.err.find("is in the language of AngelSlim; --recipe takes llm-compressor's"), std::string::npos)
      << wrong.err;
  const auto model = run_octavo({"quantize", "--recipe", sample("llm_compressor/recipe_fp8_block.yaml")});
  EXPECT_EQ(model.exit_code, 2);
  EXPECT_NE(model.err.find("MODEL is required"), std::string::npos) << model.err;
}

}  // namespace
}  // namespace octavo::test
