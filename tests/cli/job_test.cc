// The commands that make folders, as a user runs them: memory, finished and restarted outputs, parts, where models lie.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "octavo/base/json.h"
#include "octavo/checkpoint/safetensors.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/random_tensor.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using test::run_octavo;
using test::TempDir;

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

test::CheckpointBuilder model(std::size_t shards) {
  auto builder = test::tiny_model();
  builder.spread(shards);
  builder.add_file("tokenizer.json", "{}");
  return builder;
}

std::map<std::string, std::string> folder_bytes(const fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) out[fs::relative(entry.path(), folder).string()] = test::read_file(entry.path());
  }
  return out;
}

TEST(Job, MemoryIsAWholeNumberWithAUnit) {
  const TempDir dir;
  model(1).write(dir / "m");
  for (const char* bad : {"", "64", "64mib", "64 MiB", "-1GiB", "1.5GiB", "0x40MiB", "MiB", "64MB", "64TiB", "1e9B",
                          "63MiB", "67108863B", "99999999999999999999GiB", "18446744073709551615GiB", "64MiB "}) {
    for (const char* command : {"quantize", "dequantize", "import"}) {
      const auto run = run_octavo({command, dir / "m", "-o", dir / "out", "--memory", bad});
      EXPECT_EQ(run.exit_code, 2) << command << " " << bad << ": " << run.err;
      EXPECT_TRUE(holds(run.err, "--memory")) << run.err;
    }
  }
  for (const char* good : {"64MiB", "64M", "65536KiB", "65536K", "67108864B", "1GiB", "2G"}) {
    const auto run = run_octavo({"quantize", dir / "m", "-o", dir / good, "--memory", good, "--quiet"});
    EXPECT_EQ(run.exit_code, 0) << good << ": " << run.err;
  }
}

TEST(Job, AFinishedOutputIsFinished) {
  const TempDir dir;
  model(2).write(dir / "m");
  ASSERT_EQ(run_octavo({"quantize", dir / "m", "-o", dir / "o"}).exit_code, 0);
  const auto bytes = folder_bytes(dir / "o");
  auto run = run_octavo({"quantize", dir / "m", "-o", dir / "o"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_TRUE(holds(run.out, "finished already; nothing to do")) << run.out;
  run = run_octavo({"quantize", dir / "m", "-o", dir / "o", "--restart", "--json"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(parse_json(run.out, "json").value()["already_finished"], true);
  run = run_octavo({"quantize", dir / "m", "-o", dir / "o", "--scheme", "block"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_TRUE(holds(run.err, "was made with scheme \"dynamic\", not \"block\"; remove it or choose")) << run.err;
  EXPECT_EQ(folder_bytes(dir / "o"), bytes);
  ASSERT_EQ(run_octavo({"dequantize", dir / "o", "-o", dir / "d"}).exit_code, 0);
  EXPECT_TRUE(holds(run_octavo({"dequantize", dir / "o", "-o", dir / "d"}).out, "finished already"));
  // Two outputs of one model are equal byte for byte: no times, no paths.
  ASSERT_EQ(run_octavo({"quantize", dir / "m", "-o", dir / "elsewhere/o2", "--threads", "1"}).exit_code, 0);
  EXPECT_EQ(folder_bytes(dir / "elsewhere/o2"), bytes);
}

TEST(Job, PartsOfOneAndOfSeveralFolders) {
  const TempDir dir;
  model(5).write(dir / "m");
  for (const char* scheme : {"dynamic", "tensor"}) {  // tensor: one scale over several shards
    const std::string s = scheme;
    ASSERT_EQ(run_octavo({"quantize", dir / "m", "-o", dir / (s + "-whole"), "--scheme", s}).exit_code, 0);
    const auto whole = folder_bytes(dir / (s + "-whole"));
    for (const char* part : {"3/3", "1/3", "2/3"}) {
      const auto run = run_octavo({"quantize", dir / "m", "-o", dir / (s + "-one"), "--scheme", s, "--part", part});
      EXPECT_EQ(run.exit_code, 0) << run.err;
      const bool last = std::string(part) == "2/3";
      EXPECT_EQ(holds(run.out, "missing"), !last) << run.out;
      EXPECT_EQ(fs::exists(dir / (s + "-one")), last);
    }
    EXPECT_EQ(folder_bytes(dir / (s + "-one")), whole);
    EXPECT_TRUE(holds(run_octavo({"merge", dir / (s + "-one"), "-o", dir / (s + "-one")}).out, "finished already"));
    std::vector<std::string> merge = {"merge"};
    for (const char* part : {"1", "2", "3"}) {
      const std::string out = dir / (s + "-p" + part);
      ASSERT_EQ(
          run_octavo({"quantize", dir / "m", "-o", out, "--scheme", s, "--part", std::string(part) + "/3"}).exit_code,
          0);
      EXPECT_FALSE(fs::exists(out));
      merge.push_back(out);
    }
    merge.insert(merge.end(), {"-o", dir / (s + "-merged")});
    const auto run = run_octavo(merge);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_TRUE(holds(run.out, "3 parts")) << run.out;
    EXPECT_EQ(folder_bytes(dir / (s + "-merged")), whole);
    EXPECT_TRUE(holds(run_octavo(merge).out, "finished already"));
    EXPECT_EQ(run_octavo({"verify", dir / (s + "-merged"), "--against", dir / "m"}).exit_code, 0);
  }
  for (const char* bad : {"0/3", "4/3", "1", "1/0", "a/b", "1/3/3", "1/-3", "/3"}) {
    const auto run = run_octavo({"quantize", dir / "m", "-o", dir / "bad", "--part", bad});
    EXPECT_EQ(run.exit_code, 2) << bad;
    EXPECT_TRUE(holds(run.err, "--part")) << run.err;
  }
  EXPECT_EQ(run_octavo({"merge", dir / "m", "-o", dir / "bad"}).exit_code, 1);
  // More parts than shards: some have nothing to do, and say nothing wrong.
  for (int part = 1; part <= 8; ++part) {
    const auto run = run_octavo({"quantize", dir / "m", "-o", dir / "many", "--part", fmt::format("{}/8", part)});
    EXPECT_EQ(run.exit_code, 0) << run.err;
  }
  EXPECT_TRUE(fs::exists(dir / "many/config.json"));
}

TEST(Job, SqnrIsWhatItSays) {
  const TempDir dir;
  model(1).write(dir / "m");
  auto run = run_octavo({"quantize", dir / "m", "-o", dir / "o", "--sqnr"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_TRUE(holds(run.out, "SQNR") && holds(run.out, " dB")) << run.out;
  run = run_octavo({"quantize", dir / "m", "-o", dir / "j", "--sqnr", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json json = parse_json(run.out, "json").value();
  ASSERT_EQ(json["sqnr"].size(), json["quantized"].get<std::size_t>());
  for (const Json& module : json["sqnr"]) {
    // E4M3 of anything like noise: 31.5 dB with all values in one binade's middle, less with few near the top.
    EXPECT_GT(module["db"].get<double>(), 25) << module.dump();
    EXPECT_LT(module["db"].get<double>(), 40) << module.dump();
  }
  EXPECT_EQ(test::read_file(dir / "o/model.safetensors"), test::read_file(dir / "j/model.safetensors"));
}

TEST(Job, ModelsWherePeopleHaveThem) {
  const TempDir dir;
  model(2).write(dir / "plain");
  ASSERT_EQ(run_octavo({"quantize", dir / "plain", "-o", dir / "expected"}).exit_code, 0);
  const auto expected = folder_bytes(dir / "expected");

  // A snapshot of the Hugging Face cache: links into ../../blobs.
  const fs::path hub = dir / "hub/models--org--name";
  const fs::path snapshot = hub / "snapshots/0123abcd";
  fs::create_directories(snapshot);
  for (const auto& entry : fs::directory_iterator(dir / "plain")) {
    const std::string blob = "blob-" + entry.path().filename().string();
    fs::create_directories(hub / "blobs");
    fs::copy_file(entry.path(), hub / "blobs" / blob);
    fs::create_symlink(fs::path("../../blobs") / blob, snapshot / entry.path().filename());
  }
  ASSERT_EQ(run_octavo({"quantize", snapshot, "-o", dir / "from-hub"}).exit_code, 0);
  EXPECT_EQ(folder_bytes(dir / "from-hub"), expected);
  for (const auto& entry : fs::directory_iterator(dir / "from-hub")) EXPECT_FALSE(entry.is_symlink());

  // Spaces, Unicode, a newline.
  for (const char* name : {"with a space", "模型 – ünïcode 🦉", "new\nline", "-dash"}) {
    fs::copy(dir / "plain", dir / name, fs::copy_options::recursive);
    const auto run = run_octavo({"quantize", dir / name, "-o", dir / (std::string(name) + " out")});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(folder_bytes(dir / (std::string(name) + " out")), expected) << name;
  }

  // Another filesystem.
  if (fs::is_directory("/dev/shm")) {
    const fs::path shm = "/dev/shm/octavo-test-" + dir.path().filename().string();
    fs::copy(dir / "plain", shm, fs::copy_options::recursive);
    EXPECT_EQ(run_octavo({"quantize", shm, "-o", dir / "from-shm"}).exit_code, 0);
    EXPECT_EQ(run_octavo({"quantize", dir / "plain", "-o", shm.string() + "-out"}).exit_code, 0);
    EXPECT_EQ(folder_bytes(dir / "from-shm"), expected);
    EXPECT_EQ(folder_bytes(shm.string() + "-out"), expected);
    fs::remove_all(shm);
    fs::remove_all(shm.string() + "-out");
  }

  // Names that are too long: a sentence.
  for (const std::string& name : {std::string(300, 'x'), std::string(250, 'x')}) {  // the second with ".partial" only
    const auto run = run_octavo({"quantize", dir / "plain", "-o", dir / name});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_TRUE(holds(run.err, "File name too long")) << run.err;
  }
  std::string deep = dir / "deep";
  for (int i = 0; i < 30; ++i) deep += "/" + std::string(200, 'd');
  const auto run = run_octavo({"quantize", dir / "plain", "-o", deep});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_TRUE(holds(run.err, "File name too long")) << run.err;
}

// A download that was preallocated and never filled, or a model of zeros: holes read as zeros, and scales stay 1.
TEST(Job, SparseFiles) {
  const TempDir dir;
  std::vector<TensorEntry> tensors{{"model.layers.0.mlp.up_proj.weight", DType::kBF16, {4096, 2048}, 0, 0}};
  const std::string header = lay_out_safetensors(tensors, {{"format", "pt"}}).value();
  test::write_file(dir / "m/model.safetensors", header);
  fs::resize_file(dir / "m/model.safetensors", header.size() + 2 * 4096 * 2048);
  test::write_file(dir / "m/config.json", R"({"model_type": "llama", "num_hidden_layers": 1})");
  const auto run = run_octavo({"quantize", dir / "m", "-o", dir / "o", "--sqnr", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json json = parse_json(run.out, "json").value();
  EXPECT_EQ(json["kinds"][0]["min_scale"], 1.0);
  EXPECT_TRUE(json["sqnr"][0]["db"].is_null());  // nothing lost: not a number of dB
  EXPECT_EQ(run_octavo({"verify", dir / "o", "--against", dir / "m"}).exit_code, 0);
}

}  // namespace
}  // namespace octavo
