// The commands as a user runs them: the way from a BF16 folder to FP8 and back, help, completion, exit codes.
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/progress_bar.h"
#include "octavo/base/json.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::run_octavo;

Json json_of(const test::CommandResult& run) {
  auto json = parse_json(run.out, "output");
  EXPECT_TRUE(json.ok()) << run.out << run.err;
  return json.ok() ? *json : Json();
}

TEST(Commands, QuantizeVerifyDequantizeInspect) {
  const test::TempDir dir;
  auto builder = test::tiny_model();
  builder.add_file("tokenizer.json", "{}");
  const std::string source = builder.write(dir / "a name with spaces and ü");
  for (const char* scheme : {"dynamic", "block", "tensor", "weight-only"}) {
    const std::string out = dir / fmt::format("out-{}", scheme), back = dir / fmt::format("back-{}", scheme);
    const auto quantize = run_octavo({"quantize", source, "-o", out, "--scheme", scheme, "--json"});
    ASSERT_EQ(quantize.exit_code, 0) << quantize.err;
    const bool blocks = std::string_view(scheme) == "block";  // which tensor parallelism cannot split: a warning
    EXPECT_EQ(quantize.err.starts_with("octavo quantize: warning: tensor parallelism"), blocks) << quantize.err;
    EXPECT_EQ(quantize.err.empty(), !blocks);
    const Json summary = json_of(quantize);
    EXPECT_EQ(summary["scheme"], scheme);
    EXPECT_EQ(summary["quantized"], 14);

    const auto verify = run_octavo({"verify", out, "--against", source, "--for", "vllm,transformers", "--json"});
    EXPECT_EQ(verify.exit_code, 0) << verify.out;
    const Json report = json_of(verify);
    EXPECT_EQ(report["violations"].size(), 0u);
    EXPECT_EQ(report["quantized"], 14);
    for (const Json& kind : report["kinds"]) EXPECT_GT(kind["worst_sqnr_db"].get<double>(), 28.0);

    const Json inspected = json_of(run_octavo({"inspect", out, "--json"}));
    EXPECT_NE(inspected["quantization"].get<std::string>().find("e4m3"), std::string::npos);

    ASSERT_EQ(run_octavo({"dequantize", out, "-o", back, "--quiet"}).exit_code, 0);
    EXPECT_EQ(json_of(run_octavo({"inspect", back, "--json"}))["quantization"], "none");
    EXPECT_EQ(test::read_file(back + "/config.json"), test::read_file(source + "/config.json"));
    EXPECT_EQ(test::read_file(back + "/tokenizer.json"), "{}");
  }
}

TEST(Commands, DryRunWritesNothing) {
  const test::TempDir dir;
  const std::string source = test::tiny_model().write(dir / "source");
  const auto text = run_octavo({"quantize", source, "--dry-run"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_NE(text.out.find("14 quantized"), std::string::npos) << text.out;
  const Json plan = json_of(run_octavo({"quantize", source, "--dry-run", "--json", "-o", dir / "out"}));
  EXPECT_TRUE(plan["tensors"].is_array());
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
  const auto explained = run_octavo({"quantize", source, "--explain", "*.q_proj"});
  EXPECT_EQ(explained.exit_code, 0);
  EXPECT_NE(explained.out.find("quantized: linear of layer 1"), std::string::npos) << explained.out;
}

TEST(Commands, QuietSaysNothingAndWarningsGoToStandardError) {
  const test::TempDir dir;
  const std::string source = test::tiny_model().write(dir / "source");
  const auto quiet = run_octavo({"quantize", source, "-o", dir / "out", "--quiet", "--threads", "1"});
  EXPECT_EQ(quiet.exit_code, 0);
  EXPECT_EQ(quiet.out + quiet.err, "");
  const auto warned = run_octavo({"quantize", source, "-o", dir / "out2", "--quiet", "--ignore", "nobody"});
  EXPECT_EQ(warned.exit_code, 0);
  EXPECT_NE(warned.err.find("warning: --ignore nobody matches nothing"), std::string::npos) << warned.err;
}

TEST(Commands, JsonFileHoldsTheSummary) {
  const test::TempDir dir;
  const std::string source = test::tiny_model().write(dir / "source");
  const auto run = run_octavo({"quantize", source, "-o", dir / "out", "--json-file", dir / "summary.json"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_NE(run.out.find("14 weights to FP8"), std::string::npos);
  const auto json = parse_json(test::read_file(dir / "summary.json"), "summary.json");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)["kept"], 7);
}

TEST(Commands, EveryHelpHasPurposeAndExample) {
  const auto help = run_octavo({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command : {"import", "quantize", "verify", "inspect", "dequantize", "completion"}) {
    EXPECT_NE(help.out.find(command), std::string::npos);
    const auto own = run_octavo({command, "--help"});
    EXPECT_EQ(own.exit_code, 0);
    EXPECT_NE(own.out.find("Example:\n"), std::string::npos) << command;
    EXPECT_EQ(own.out.find("\n\n\n"), std::string::npos) << command;
  }
  EXPECT_EQ(run_octavo({}).exit_code, 2);
  EXPECT_NE(run_octavo({"--version"}).out.find("octavo "), std::string::npos);
}

// What bash would offer for the last of `words`.
std::string bash_offers(const std::string& words) {
  const test::TempDir dir;
  test::write_file(dir / "completion.bash", run_octavo({"completion", "bash"}).out);
  const std::string script = fmt::format(
      "source '{}'\nCOMP_WORDS=({})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n_octavo\n"
      "echo \"${{COMPREPLY[*]}}\" > '{}'\n",
      (dir / "completion.bash").string(), words, (dir / "reply").string());
  test::write_file(dir / "script", script);
  EXPECT_EQ(std::system(fmt::format("bash '{}'", (dir / "script").string()).c_str()), 0);
  return test::read_file(dir / "reply");
}

TEST(Commands, CompletionScriptsAreValidShell) {
  EXPECT_EQ(bash_offers("octavo quantize --sch"), "--scheme\n");
  EXPECT_EQ(bash_offers("octavo quantize --scheme ''"), "dynamic block tensor weight-only mxfp8 static\n");
  EXPECT_EQ(bash_offers("octavo quantize m --scheme = b"), "block\n");  // --scheme=b
  EXPECT_EQ(bash_offers("octavo quantize --format f"), "fp8\n");
  EXPECT_EQ(bash_offers("octavo quantize --dtype ''"), "e4m3 e5m2\n");
  EXPECT_EQ(bash_offers("octavo quantize --edge ''"), "partial channel\n");
  EXPECT_EQ(bash_offers("octavo quantize --scale-dtype ''"), "f32 bf16\n");
  EXPECT_EQ(bash_offers("octavo quantize --nonfinite ''"), "error zero\n");
  EXPECT_EQ(bash_offers("octavo import --dtype ''"), "bf16 f32 f16\n");
  EXPECT_EQ(bash_offers("octavo verify --for ''"), "vllm sglang transformers tensorrt-llm\n");
  EXPECT_NE(run_octavo({"completion", "fish"}).out.find("-l for -x -a 'vllm sglang transformers tensorrt-llm'"),
            std::string::npos);
  EXPECT_NE(run_octavo({"completion", "zsh"}).out.find("\"verify --for\") compadd -- vllm"), std::string::npos);
  EXPECT_EQ(run_octavo({"completion", "tcsh"}).exit_code, 2);
}

TEST(Commands, DequantizeSaysPtAndNamesWhatItLeavesOut) {
  const test::TempDir dir;
  const std::string source = test::tiny_model().write(dir / "source"), out = dir / "out";
  ASSERT_EQ(run_octavo({"quantize", source, "-o", out, "--quiet"}).exit_code, 0);
  // Take the metadata out; spaces keep the header's length.
  std::string bytes = test::read_file(out + "/model.safetensors");
  const std::string metadata = "\"__metadata__\":{\"format\":\"pt\"},";
  const std::size_t at = bytes.find(metadata);
  ASSERT_NE(at, std::string::npos);
  test::write_file(out + "/model.safetensors", bytes.replace(at, metadata.size(), std::string(metadata.size(), ' ')));
  test::write_file(out + "/onnx/notes.txt", "x");
  const auto run = run_octavo({"dequantize", out, "-o", dir / "back", "--quiet"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.err.find("warning: onnx/ is not copied"), std::string::npos) << run.err;
  EXPECT_NE(test::read_file(dir / "back/model.safetensors").find(metadata), std::string::npos);
}

TEST(Commands, ProgressIsCutBetweenCharacters) {
  EXPECT_EQ(cli::cut_at_character("aé€", 6), "aé€");
  EXPECT_EQ(cli::cut_at_character("aé€", 5), "aé");
  EXPECT_EQ(cli::cut_at_character("aé€", 3), "aé");
  EXPECT_EQ(cli::cut_at_character("aé€", 2), "a");
  EXPECT_EQ(cli::cut_at_character("é", 1), "");
}

// The forced instruction sets write the same bytes.
TEST(Commands, IsaDoesNotChangeTheOutput) {
  const test::TempDir dir;
  const std::string source = test::tiny_model().write(dir / "source");
  std::string first;
  for (const char* isa : {"scalar", "avx2", "avx512"}) {
    const auto run = run_octavo({"quantize", source, "-o", dir / isa, "--quiet"}, {{"OCTAVO_ISA", isa}});
    if (run.err.find("this machine has only") != std::string::npos) continue;
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const std::string bytes = test::read_file(dir / (std::string(isa) + "/model.safetensors"));
    if (first.empty()) first = bytes;
    EXPECT_EQ(bytes, first) << isa;
  }
  EXPECT_EQ(run_octavo({"quantize", source, "-o", dir / "x"}, {{"OCTAVO_ISA", "sse"}}).exit_code, 2);
}

// A real model with odd shapes, where the shared data is at hand.
TEST(Commands, RealSmallModels) {
  const std::filesystem::path models = std::string(OCTAVO_SOURCE_DIR) + "/../shared/data/models";
  if (!std::filesystem::exists(models)) GTEST_SKIP() << "no " << models << ": real models are not shipped";
  const test::TempDir dir;
  for (const char* name : {"stories260K-bf16", "stories260K-f32", "babyllama105-1M-bf16", "babyllama105-1M-f32"}) {
    for (const char* scheme : {"dynamic", "block", "tensor", "weight-only"}) {
      const std::string out = dir / fmt::format("{}-{}", name, scheme), source = models / name;
      ASSERT_EQ(run_octavo({"quantize", source, "-o", out, "--scheme", scheme, "--quiet"}).exit_code, 0);
      const Json report = json_of(run_octavo({"verify", out, "--against", source, "--json"}));
      EXPECT_EQ(report["violations"].size(), 0u) << report["violations"].dump(2);
      for (const Json& kind : report["kinds"]) EXPECT_GT(kind["worst_sqnr_db"].get<double>(), 29.0);
    }
  }
}

}  // namespace
}  // namespace octavo
