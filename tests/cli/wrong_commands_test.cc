// Command lines that cannot be meant so: exit code 2 (or 1 where only the model shows it), and a sentence that helps.
#include "tests/cli/broken_inputs.h"

namespace octavo::test {
namespace {

std::vector<Row> wrong_commands() {
  return {
      {"unknown command", {}, {"quantise", "@m"}, kUsage, "unknown command quantise; did you mean quantize?"},
      {"unknown option", {}, quantize({"--schem", "block"}), kUsage, "unknown option --schem; did you mean --scheme"},
      {"unknown option of octavo", {}, {"--versoin"}, kUsage, "unknown option --versoin; did you mean --version?"},
      {"one word too many", {}, {"inspect", "@m", "twice"}, kUsage, "unexpected argument twice"},
      {"no MODEL", {}, {"quantize", "-o", "@o"}, kUsage, "MODEL is required"},
      {"no output", {}, {"quantize", "@m"}, kUsage, "-o OUT is missing: where the FP8 model goes"},
      {"no output for dequantize", {}, {"dequantize", "@f"}, kUsage, "--output is required"},
      {"empty MODEL", {}, {"quantize", "", "-o", "@o"}, kUsage, "the model folder's name is empty"},
      {"option without a value", {}, {"quantize", "@m", "-o"}, kUsage, "--output needs a value"},
      {"option twice", {}, quantize({"-o", "@d/p"}), kUsage, "--output is given more than once"},
      {"unknown scheme",
       {},
       quantize({"--scheme", "blok"}),
       kUsage,
       "--scheme blok: unknown; one of dynamic, block, tensor, weight-only, mxfp8, static; did you mean block?"},
      {"unknown format",
       {},
       quantize({"--format", "gguf"}),
       kUsage,
       "--format gguf: unknown; one of fp8, compressed-tensors"},
      {"illegal pair",
       {},
       quantize({"--scheme", "dynamic", "--format", "fp8"}),
       kUsage,
       "--scheme dynamic cannot be written as --format fp8: no loader takes it; dynamic goes with --format "
       "compressed-tensors or modelopt, and `octavo formats` shows who loads what"},
      {"block of zero rows",
       {},
       quantize({"--scheme", "block", "--block-size", "0x1"}),
       kUsage,
       "--block-size 0x1: must be ROWSxCOLUMNS of 1 to 65536 each, such as 128x128"},
      {"half a block", {}, quantize({"--scheme", "block", "--block-size", "128x"}), kUsage, "must be ROWSxCOLUMNS"},
      {"block beyond 64 bits",
       {},
       quantize({"--scheme", "block", "--block-size", "99999999999999999999x1"}),
       kUsage,
       "must be ROWSxCOLUMNS"},
      {"block size without blocks",
       {},
       quantize({"--block-size", "64x64"}),
       kUsage,
       "--block-size goes with --scheme block"},
      {"E5M2 in compressed-tensors", {}, quantize({"--dtype", "e5m2"}), kUsage, "--dtype e5m2 needs --format fp8"},
      {"unknown dtype of codes", {}, quantize({"--dtype", "e3m4"}), kUsage, "--dtype: e3m4 not in {e4m3,e5m2}"},
      {"--edge channel in fp8",
       {},
       quantize({"--scheme", "block", "--edge", "channel"}),
       kUsage,
       "--edge channel needs --scheme block --format compressed-tensors"},
      {"--lm-head in fp8",
       {},
       quantize({"--scheme", "block", "--lm-head"}),
       kUsage,
       "--lm-head needs --format compressed-tensors"},
      {"--lm-head of a tied model",
       [](const fs::path& dir) {
         CheckpointBuilder b = small_model();
         b.remove("lm_head.weight");
         b.config()["tie_word_embeddings"] = true;
         b.write(dir / "m");
       },
       quantize({"--lm-head"}), kFailure, "the output head is tied to the embedding"},
      {"malformed expression",
       {},
       quantize({"--ignore", "re:("}),
       kUsage,
       "pattern \"re:(\": missing closing parenthesis at character 1"},
      {"empty pattern", {}, quantize({"--ignore", ""}), kUsage, "an empty pattern in --ignore or --only"},
      {"--only leaves nothing",
       {},
       quantize({"--only", "q_prj"}),
       kFailure,
       "nothing to quantize: every linear is kept"},
      {"--ignore leaves nothing", {}, quantize({"--ignore", "*"}), kFailure, "most often because: --ignore *"},
      {"--keep-first leaves nothing", {}, quantize({"--keep-first", "2"}), kFailure, "nothing to quantize"},
      {"a negative number of layers", {}, quantize({"--keep-last", "-1"}), kUsage, "--keep-last"},
      {"no threads", {}, quantize({"--threads", "0"}), kUsage, "--threads: Value 0 not in range 1 to 1024"},
      {"OCTAVO_ISA",
       {},
       kQuantize,
       kUsage,
       "OCTAVO_ISA=foo: not an instruction set; use scalar, avx2, avx512, avx512_bf16 or amx",
       {{"OCTAVO_ISA", "foo"}}},
      {"--explain of nothing", {}, {"quantize", "@m", "--explain", "ghost"}, kUsage, "--explain ghost: no such tensor"},
      {"unknown dtype of dequantize",
       {},
       {"dequantize", "@f", "-o", "@o", "--dtype", "f16"},
       kUsage,
       "--dtype: f16 not in"},
      {"unknown loader", {}, {"verify", "@f", "--for", "vlm"}, kUsage, "--for vlm: unknown; one of vllm"},
      {"no source to verify against", {}, {"verify", "@f", "--against", "@d/none"}, kFailure, "none: no such folder"},
      {"unknown shell", {}, {"completion", "tcsh"}, kUsage, "tcsh not in {bash,zsh,fish}"},
  };
}

TEST(WrongCommands, SayWhatIsWrong) {
  for (const Row& row : wrong_commands()) check(row);
}

}  // namespace
}  // namespace octavo::test
