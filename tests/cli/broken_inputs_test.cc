// Broken models, folders, configs and GGUF files: one row each with the exit code and a part of the sentence a user
// reads. tests/cli/broken_inputs.h says what else every row checks.
#include "tests/cli/broken_inputs.h"

#include <unistd.h>

namespace octavo::test {
namespace {

std::vector<Row> broken_safetensors() {
  return {
      {"empty file", file("m/model.safetensors", ""), kQuantize, kFailure,
       "0 bytes are too few for a safetensors file"},
      {"not safetensors", file("m/model.safetensors", std::string(100, 'x')), kQuantize, kFailure,
       "over the format's limit of 100000000: not a safetensors file?"},
      {"git-lfs pointer",
       file("m/model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
       {"inspect", "@m"},
       kFailure,
       "not a safetensors file?"},
      {"giant header", file("m/model.safetensors", std::string("\0\xe1\xf5\x05\0\0\0\0{}", 10)), kQuantize, kFailure,
       "truncated: the header needs 100000000 bytes, the file has 2"},
      {"truncated data", cut("m/model.safetensors", 1), kQuantize, kFailure, "truncated: the header describes"},
      {"truncated header",
       [](const fs::path& dir) { fs::resize_file(dir / "m/model.safetensors", 100); },
       {"verify", "@m"},
       kFailure,
       "truncated: the header needs"},
      {"trailing bytes", header("{}", 5), kQuantize, kFailure, "5 bytes behind the last tensor belong to no tensor"},
      {"overlapping tensors",
       header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
              R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
              6),
       kQuantize, kFailure, "tensors \"a\" and \"b\" overlap"},
      {"a hole", header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6), kQuantize, kFailure,
       "2 bytes before tensor \"a\" belong to no tensor"},
      {"overflowing shape", header(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
       kQuantize, kFailure, "shape [4294967296, 4294967296] of F32 overflows"},
      {"overflowing offset", header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,99999999999999999999]}})", 1),
       kQuantize, kFailure, "data_offsets holds a number that is no integer"},
      {"shape and offsets disagree", header(R"({"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,4]}})", 4), kQuantize,
       kFailure, "BF16 [3] needs 6 bytes, data_offsets give 4"},
      {"unknown dtype", header(R"({"a":{"dtype":"Q4","shape":[0],"data_offsets":[0,0]}})", 0), kQuantize, kFailure,
       "unknown dtype \"Q4\""},
      {"duplicate tensor",
       header(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
              R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
              0),
       kQuantize, kFailure, "tensor \"a\" appears twice"},
      {"name is invalid UTF-8", header("{\"\xff\xfe\":{}}", 0), kQuantize, kFailure, "ill-formed UTF-8 byte"},
      {"name with a newline and an escape sequence", header("{\"a\\n\\u001b[31m\":1}", 0), kQuantize, kFailure,
       "the entry of \"a\\x0a\\x1b[31m\" must be an object"},
      {"nested header", header(nested(100'000), 0), kQuantize, kFailure,
       "the entry of \"a\" must be an object, not a list"},
      {"shape of a million dimensions",
       header(
           "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1],\"shape\":[1" +
               [] {
                 std::string ones;
                 for (int i = 0; i < 1'000'000; ++i) ones += ",1";
                 return ones;
               }() +
               "]}}",
           1),
       kQuantize, kFailure, "shape holds more than 64 numbers"},
      {"metadata that is no string", header(R"({"__metadata__":{"format":{"a":1}}})", 0), kQuantize, kFailure,
       "__metadata__: \"format\" must be a string"},
  };
}

std::vector<Row> broken_folders() {
  const Damage no_weights = remove("m/model.safetensors");
  return {
      {"no such folder", {}, {"quantize", "@d/none", "-o", "@o"}, kFailure, "none: no such folder"},
      {"empty folder",
       [](const fs::path& dir) { fs::create_directory(dir / "e"); },
       {"inspect", "@d/e"},
       kFailure,
       "no model.safetensors and no model.safetensors.index.json"},
      {"model is a file",
       {},
       {"quantize", "@m/config.json", "-o", "@o"},
       kFailure,
       "is a file, a model folder is needed"},
      {"model is a GGUF file",
       file("x.gguf", "GGUF"),
       {"quantize", "@d/x.gguf", "-o", "@o"},
       kFailure,
       "run `octavo import FILE.gguf -o DIR` first"},
      {"model.safetensors is a folder",
       both(no_weights, [](const fs::path& dir) { fs::create_directory(dir / "m/model.safetensors"); }), kQuantize,
       kFailure, "no model.safetensors"},
      {"pytorch_model.bin only", both(no_weights, file("m/pytorch_model.bin", "PK")), kQuantize, kFailure,
       "m/pytorch_model.bin: neither a ZIP archive nor a pickle: not written by torch.save"},
      {"GGUF only",
       both(no_weights, file("m/q.gguf", "GGUF")),
       {"inspect", "@m"},
       kFailure,
       "holds a GGUF file; run `octavo import"},
      {"shards without an index", remove("s/model.safetensors.index.json"), kQuantizeShards, kFailure,
       "2 safetensors files but no model.safetensors.index.json: an incomplete download?"},
      {"missing shard", remove("s/model-00002-of-00002.safetensors"), kQuantizeShards, kFailure,
       "shard model-00002-of-00002.safetensors is missing"},
      {"truncated shard",
       cut("s/model-00002-of-00002.safetensors", 7),
       {"verify", "@s"},
       kFailure,
       "model-00002-of-00002.safetensors: truncated"},
      {"index is not JSON", index("weights"), kQuantizeShards, kFailure, "index.json:1:1: "},
      {"index is empty", index(""), {"inspect", "@s"}, kFailure, "index.json:1:1: "},
      {"index is a list", index("[]"), kQuantizeShards, kFailure, "the index must be an object, not a list"},
      {"index without weight_map", index("{\"metadata\": {}}"), kQuantizeShards, kFailure, "has no weight_map"},
      {"index maps a tensor to a number", index("{\"weight_map\": {\"a\": 1}}"), kQuantizeShards, kFailure,
       "\"a\" must be a file name, not a number"},
      {"index leaves the folder", index("{\"weight_map\": {\"a\": \"../m/model.safetensors\"}}"), kQuantizeShards,
       kFailure, "points outside the folder: \"../m/model.safetensors\""},
      {"index holds an absolute path", index("{\"weight_map\": {\"a\": \"/dev/zero.safetensors\"}}"), kQuantizeShards,
       kFailure, "points outside the folder: \"/dev/zero.safetensors\""},
      {"index names another kind of file", index("{\"weight_map\": {\"a\": \"config.json\"}}"), kQuantizeShards,
       kFailure, "\"config.json\" is not a .safetensors file"},
      {"index names a tensor twice", index("{\"weight_map\": {\"a\": \"m.safetensors\",\n \"a\": \"m.safetensors\"}}"),
       kQuantizeShards, kFailure, "index.json:2:"},
      {"index names a tensor that the shard lacks",
       index("{\"weight_map\": {\"ghost\": \"model-00001-of-00002.safetensors\"}}"),
       {"inspect", "@s"},
       kFailure,
       "says tensor \"ghost\" is in model-00001-of-00002.safetensors, which does not hold it"},
      {"weights are a pipe",
       [](const fs::path& dir) {
         fs::remove(dir / "s/model-00001-of-00002.safetensors");
         mkfifo((dir / "s/model-00001-of-00002.safetensors").c_str(), 0600);
       },
       kQuantizeShards, kFailure, "model-00001-of-00002.safetensors: not a regular file"},
  };
}

std::vector<Row> broken_configs() {
  const auto config = [](std::string text) { return file("m/config.json", std::move(text)); };
  return {
      {"no config", remove("m/config.json"), kQuantize, kFailure,
       "no config.json; a Hugging Face model folder has one"},
      {"config is empty", config(""), kQuantize, kFailure, "config.json:1:1: "},
      {"config is not JSON", config("{'model_type': 'x'}"), kQuantize, kFailure, "config.json:1:2: "},
      {"config has a comment", config("{\n  // the model\n}"), {"inspect", "@m"}, kFailure, "config.json:2:"},
      {"config is a list", config("[]"), kQuantize, kFailure, "config.json: must be an object, not a list"},
      {"config nested 1000 deep", config(nested(1000)), kQuantize, kFailure, "nested deeper than 64 levels"},
      {"config with a key twice", config("{\"a\": 1,\n  \"a\": 2}"), kQuantize, kFailure,
       "config.json:2:5: key \"a\" appears"},
      {"config with bytes behind a zero byte", config(std::string("{}\0{", 4)), kQuantize, kFailure, "a zero byte"},
      {"config is invalid UTF-8", config("{\"a\": \"\xc3\"}"), kQuantize, kFailure, "ill-formed UTF-8"},
      {"config is a pipe",
       [](const fs::path& dir) {
         fs::remove(dir / "m/config.json");
         mkfifo((dir / "m/config.json").c_str(), 0600);
       },
       kQuantize, kFailure, "config.json: not a regular file"},
      {"config of 33 MB", config(std::string((32u << 20) + 1, ' ')), kQuantize, kFailure, "at most 33554432 are read"},
      {"wrong type", config("{\"num_hidden_layers\": \"two\"}"), kQuantize, kFailure,
       "/num_hidden_layers must be a whole number, not a string"},
      {"wrong type one level down",
       config("{\"text_config\": {\"tie_word_embeddings\": 1}}"),
       {"inspect", "@m"},
       kFailure,
       "/text_config/tie_word_embeddings must be true or false, not an integer"},
      {"already quantized",
       {},
       {"quantize", "@f", "-o", "@o"},
       kFailure,
       "already quantized (compressed-tensors); `octavo convert` takes FP8 models to another scheme or format"},
      {"not quantized",
       {},
       {"dequantize", "@m", "-o", "@o"},
       kFailure,
       "not quantized: config.json has no quantization_config"},
      {"another tool's format", fp8([](auto& b) {
         b.config()["quantization_config"] = {{"quant_method", "modelopt"}};
       }),
       kDequantize, kFailure,
       "/quantization_config/quant_algo is missing: it says what ModelOpt has done"},
      {"four bits",
       fp8([](auto& b) { b.config()["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 4; }),
       kDequantize, kFailure, "/config_groups/group_0/weights/type and num_bits describe float4, which is not FP8"},
      {"a scale of the wrong shape", fp8([](auto& b) {
         b.at(std::string(kQ) + "_scale").shape = {4, 4};
       }),
       kDequantize, kFailure, "scale of shape [4, 4] fits no granularity of a weight of shape [16, 16]"},
      {"a scale is missing", fp8([](auto& b) { b.remove(std::string(kQ) + "_scale"); }), kDequantize, kFailure,
       "in FP8 without a scale"},
      {"a scale of integers", fp8([](auto& b) { b.at(std::string(kQ) + "_scale").dtype = DType::kI32; }), kDequantize,
       kFailure, "I32 is not a scale's dtype"},
      {"FP8 said, BF16 found", fp8([](auto& b) {
         const Json quantization = b.config()["quantization_config"];
         b = small_model();
         b.config()["quantization_config"] = quantization;
       }),
       kDequantize, kFailure, "holds no FP8 weight"},
  };
}

std::vector<Row> broken_values_and_outputs() {
  const auto put = [](const char* tensor, std::size_t element, std::uint16_t bits) {
    return model([=](CheckpointBuilder& b) {
      b.at(tensor).bytes[2 * element] = std::byte(bits & 0xFF);
      b.at(tensor).bytes[2 * element + 1] = std::byte(bits >> 8);
    });
  };
  const char* nan = "q_proj.weight\" in model.safetensors: NaN at [2, 5]; --nonfinite zero replaces such values by 0";
  return {
      {"NaN", put(kQ, 2 * 16 + 5, 0x7FC0), kQuantize, kFailure, nan},
      {"NaN, per tensor", put(kQ, 2 * 16 + 5, 0xFFFF), quantize({"--scheme", "tensor"}), kFailure, nan},
      {"NaN, blocks", put(kQ, 2 * 16 + 5, 0x7F81), quantize({"--scheme", "block"}), kFailure, nan},
      {"infinity", put(kQ, 255, 0xFF80), kQuantize, kFailure, "infinity at [15, 15]"},
      {"nothing but norms", model([](CheckpointBuilder& b) {
         for (const auto& t : std::vector(b.tensors())) {
           if (t.shape.size() == 2) b.remove(t.name);
         }
       }),
       kQuantize, kFailure, "nothing to quantize: no 2-D linear weight"},
      {"output exists", file("o/notes.txt", "mine"), kQuantize, kFailure,
       "o: exists already and was not made by this command; remove it or choose another output"},
      {"output is a file", file("o", "mine"), kQuantize, kFailure, "o: exists and is a file"},
      {"output is a link", [](const fs::path& dir) { fs::create_symlink("nowhere", dir / "o"); }, kDequantize, kFailure,
       "o: is a link; name a folder that does not exist yet"},
      {"output is the input", {}, {"quantize", "@m", "-o", "@m"}, kUsage, "m: the output is the input folder"},
      {"output inside the input",
       {},
       {"quantize", "@m", "-o", "@m/sub/o"},
       kUsage,
       "o: the output lies inside the input folder; choose another"},
      {"output of dequantize inside the input",
       {},
       {"dequantize", "@f", "-o", "@f/o"},
       kUsage,
       "o: the output lies inside the input folder; choose another"},
      {"a link to nowhere", [](const fs::path& dir) { fs::create_symlink("../blobs/none", dir / "m/tokenizer.json"); },
       kQuantize, kFailure, "m/tokenizer.json: a link to nowhere: an incomplete download?"},
      {"output is the input, spelled otherwise",
       {},
       {"dequantize", "@f", "-o", "@m/../f/"},
       kUsage,
       "the output is the input folder"},
      {"output below a file",
       {},
       {"quantize", "@m", "-o", "@f/config.json/o"},
       kFailure,
       "cannot create: Not a directory"},
      {"output in /proc", {}, {"quantize", "@m", "-o", "/proc/o"}, kFailure, "cannot create: "},
      {"somebody's OUT.partial", file("o.partial/work.txt", "mine"), kQuantize, kFailure,
       "o.partial: stands in the way and was not made by octavo; remove it"},
      {"a file named OUT.partial", file("o.partial", "mine"), kDequantize, kFailure, "stands in the way and is not a folder; remove it"},
      {"JSON file in no folder",
       {},
       {"inspect", "@m", "--json-file", "@d/none/x.json"},
       kFailure,
       "none/x.json: cannot create: No such file or directory"},
  };
}

std::vector<Row> broken_gguf() {
  const auto as_is = [](GgufBuilder&) {};
  return {
      {"GGUF: no such file", {}, kImport, kFailure, "x.gguf: cannot open: No such file or directory"},
      {"GGUF: a folder", {}, {"import", "@m", "-o", "@o"}, kFailure, "m: is a folder, not a file"},
      {"GGUF: bad magic", gguf([](auto& b) { b.magic = "GGML"; }), kImport, kFailure,
       "does not begin with the letters GGUF"},
      {"GGUF: empty", file("x.gguf", ""), kImport, kFailure, "not a GGUF file: only 0 bytes long"},
      {"GGUF: version 9", gguf([](auto& b) { b.version = 9; }), kImport, kFailure, "GGUF version 9; Octavo reads"},
      {"GGUF: truncated", both(gguf(as_is), cut("x.gguf", 40)), kImport, kFailure, "it is cut short or damaged"},
      {"GGUF: truncated metadata", both(gguf(as_is), [](const fs::path& dir) { fs::resize_file(dir / "x.gguf", 50); }),
       kImport, kFailure, "x.gguf: "},
      {"GGUF: giant tensor count", gguf([](auto& b) { b.tensor_count = UINT64_MAX; }), kImport, kFailure,
       "more than the file"},
      {"GGUF: giant key count", gguf([](auto& b) { b.key_count = UINT64_MAX; }), kImport, kFailure,
       "more than the file"},
      {"GGUF: another architecture", gguf([](auto& b) { b.string("general.architecture", "mamba"); }), kImport,
       kFailure, "architecture 'mamba' is not supported"},
      {"GGUF: output exists", both(gguf(as_is), file("o/notes.txt", "mine")), kImport, kFailure, "exists already"},
  };
}

std::vector<Row> no_permission() {
  return {
      {"unreadable weights", [](const fs::path& dir) { chmod((dir / "m/model.safetensors").c_str(), 0); }, kQuantize,
       kFailure, "model.safetensors: cannot open: Permission denied"},
      {"output in an unwritable folder",
       [](const fs::path& dir) {
         fs::create_directory(dir / "locked");
         chmod((dir / "locked").c_str(), 0500);
       },
       {"quantize", "@m", "-o", "@d/locked/o"},
       kFailure,
       "cannot create: Permission denied"},
  };
}

TEST(BrokenInputs, TheUndamagedModelsAreFine) {
  const TempDir dir;
  small_model().write(dir / "m");
  small_fp8().write(dir / "f");
  EXPECT_EQ(run_octavo({"quantize", dir / "m", "-o", dir / "o"}).exit_code, 0);
  EXPECT_EQ(run_octavo({"dequantize", dir / "f", "-o", dir / "p"}).exit_code, 0);
  EXPECT_EQ(run_octavo({"quantize", dir / "m", "-o", dir / "a/b/c"}).exit_code, 0);  // parents are made
}

TEST(BrokenInputs, Safetensors) {
  for (const Row& row : broken_safetensors()) check(row);
}
TEST(BrokenInputs, Folders) {
  for (const Row& row : broken_folders()) check(row);
}
TEST(BrokenInputs, Configs) {
  for (const Row& row : broken_configs()) check(row);
}
TEST(BrokenInputs, ValuesAndOutputs) {
  for (const Row& row : broken_values_and_outputs()) check(row);
}
TEST(BrokenInputs, Gguf) {
  for (const Row& row : broken_gguf()) check(row);
}
TEST(BrokenInputs, Permissions) {
  if (geteuid() == 0) GTEST_SKIP() << "root reads and writes everywhere";
  for (const Row& row : no_permission()) check(row);
}

}  // namespace
}  // namespace octavo::test
