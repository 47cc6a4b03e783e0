// Tables of broken inputs and wrong command lines: what a row is, small models to damage, and what every row checks.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <map>

#include "octavo/base/text.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo::test {

namespace fs = std::filesystem;
using Args = std::vector<std::string>;

constexpr int kFailure = 1, kUsage = 2;

struct Row {
  const char* name;
  // Changes a folder that holds a good model: m (BF16, one file), s (BF16, two shards), f (FP8). Nothing: as they are.
  std::function<void(const fs::path&)> damage;
  Args args;  // @m, @s, @f and @o (the output) stand for paths
  int exit_code;
  const char* sentence;  // a part of it
  std::vector<std::pair<std::string, std::string>> environment = {};
};

inline CheckpointBuilder small_model() {
  return tiny_model({.layers = 2, .hidden = 16, .intermediate = 32, .vocab = 24, .heads = 2, .head_dim = 8});
}

// The same model as quantize would write it, made without quantize.
inline CheckpointBuilder small_fp8() {
  CheckpointBuilder b = small_model();
  for (const auto& t : std::vector(b.tensors())) {
    if (t.name.find("_proj") == std::string::npos) continue;
    BuiltTensor& weight = b.at(t.name);
    weight.dtype = DType::kF8E4M3;
    weight.bytes.assign(*element_count(t.shape), std::byte{0x38});  // 1.0
    b.add_f32(t.name + "_scale", {t.shape[0], 1}, std::vector<float>(t.shape[0], 0.5f));
  }
  const Json args = {
      {"num_bits", 8}, {"type", "float"}, {"symmetric", true}, {"dynamic", false}, {"strategy", "channel"}};
  b.config()["quantization_config"] = {
      {"quant_method", "compressed-tensors"},
      {"format", "naive-quantized"},
      {"ignore", {"lm_head"}},
      {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", args}, {"input_activations", nullptr}}}}}};
  return b;
}

// A safetensors file with this header and `data` zero bytes.
inline std::string raw_file(std::string_view header, std::size_t data) {
  std::string out(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return out.append(header) + std::string(data, '\0');
}

using Damage = std::function<void(const fs::path&)>;
inline Damage file(const char* name, std::string content) {
  return [name, content](const fs::path& dir) { write_file(dir / name, content); };
}
// The header of m's only file.
inline Damage header(std::string_view json, std::size_t data) {
  return file("m/model.safetensors", raw_file(json, data));
}
inline Damage cut(const char* name, std::uint64_t bytes) {
  return [=](const fs::path& dir) { fs::resize_file(dir / name, fs::file_size(dir / name) - bytes); };
}
inline Damage remove(const char* name) {
  return [=](const fs::path& dir) { fs::remove_all(dir / name); };
}
inline Damage index(std::string text) { return file("s/model.safetensors.index.json", std::move(text)); }
inline Damage model(std::function<void(CheckpointBuilder&)> change) {
  return [change](const fs::path& dir) {
    CheckpointBuilder b = small_model();
    change(b);
    b.write(dir / "m");
  };
}
inline Damage fp8(std::function<void(CheckpointBuilder&)> change) {
  return [change](const fs::path& dir) {
    CheckpointBuilder b = small_fp8();
    change(b);
    b.write(dir / "f");
  };
}
inline Damage both(Damage first, Damage second) {
  return [=](const fs::path& dir) { first(dir), second(dir); };
}
inline Damage gguf(const std::function<void(GgufBuilder&)>& change) {
  GgufBuilder b = tiny_gguf();
  change(b);
  return file("x.gguf", b.build());
}

inline const Args kQuantize = {"quantize", "@m", "-o", "@o"};
inline const Args kQuantizeShards = {"quantize", "@s", "-o", "@o"};
inline const Args kDequantize = {"dequantize", "@f", "-o", "@o"};
inline const Args kImport = {"import", "@d/x.gguf", "-o", "@o"};
inline Args quantize(const Args& more) {
  Args args = kQuantize;
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

inline std::string nested(std::size_t depth) {
  return "{\"a\": " + std::string(depth, '[') + std::string(depth, ']') + "}";
}

inline constexpr const char* kQ = "model.layers.0.self_attn.q_proj.weight";

// Every path below `dir` with its size.
inline std::map<std::string, std::uintmax_t> listing(const fs::path& dir) {
  std::map<std::string, std::uintmax_t> out;
  for (const auto& item : fs::recursive_directory_iterator(dir)) {
    std::error_code none;
    const std::uintmax_t size = item.is_regular_file(none) ? item.file_size(none) : 0;
    out[item.path().lexically_relative(dir).string()] = size;
  }
  return out;
}

inline void check_messages(const std::string& text, const char* sentence) {
  std::size_t errors = 0;
  for (const std::string_view line : split(text, '\n')) {
    const bool warning = line.find(": warning: ") != line.npos;
    const bool hint = line.starts_with("Run `octavo");
    const bool table = line.starts_with("  ");
    if (line.empty() || warning || hint || table) continue;
    ++errors;
    EXPECT_TRUE(line.starts_with("octavo")) << line;
    EXPECT_NE(line.find(sentence), line.npos) << "read:   " << line << "\nwanted: " << sentence;
    EXPECT_LT(line.size(), 600u) << line;
  }
  EXPECT_EQ(errors, 1u) << text;
  EXPECT_TRUE(is_valid_utf8(text)) << printable(text, 2000);
  for (const char* alarm :
       {"terminate", "exception", "what()", "Sanitizer", "runtime error", "Assertion", "bad_alloc"}) {
    EXPECT_EQ(text.find(alarm), std::string::npos) << text;
  }
}

inline void check(const Row& row) {
  SCOPED_TRACE(row.name);
  const TempDir dir;
  small_model().write(dir / "m");
  CheckpointBuilder sharded = small_model();
  sharded.spread(2);
  sharded.write(dir / "s");
  small_fp8().write(dir / "f");
  if (row.damage) row.damage(dir.path());
  const auto before = listing(dir.path());

  Args args = row.args;
  for (std::string& arg : args) {
    if (arg.starts_with("@d/")) arg = dir / arg.substr(3);
    if (arg.starts_with("@")) arg = dir / arg.substr(1);
  }
  const auto run = run_octavo(args, row.environment);
  EXPECT_EQ(run.exit_code, row.exit_code) << run.err;
  EXPECT_EQ(run.out, "");
  check_messages(run.err, row.sentence);
  // What was done before a bad value was met is kept, known as unfinished; nothing else may be left.
  if (fs::exists(dir / "o.partial/.octavo")) {
    EXPECT_EQ(row.exit_code, 1);
    fs::remove_all(dir / "o.partial");
  }
  EXPECT_EQ(listing(dir.path()), before) << "a file appeared, vanished or changed its size";
}

}  // namespace octavo::test
