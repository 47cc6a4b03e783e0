// Peak memory does not grow with the tensor: one linear of 1 GiB against one of 64 MiB, in both passes and as one
// giant row. The source is a sparse file of zeros, so it costs no disk. `make test-large` does 8.6 GB.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "octavo/base/json.h"
#include "octavo/checkpoint/safetensors.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

void write_sparse_model(const std::filesystem::path& dir, std::uint64_t rows, std::uint64_t cols) {
  std::vector<TensorEntry> tensors = {{"model.layers.0.mlp.down_proj.weight", DType::kBF16, {rows, cols}, 0, 0}};
  const std::string header = lay_out_safetensors(tensors, {{"format", "pt"}}).value();
  test::write_file(dir / "config.json", R"({"model_type": "llama", "num_hidden_layers": 1})");
  test::write_file(dir / "model.safetensors", header);
  ASSERT_EQ(truncate((dir / "model.safetensors").c_str(), static_cast<off_t>(header.size() + rows * cols * 2)), 0);
}

std::uint64_t peak_memory(const char* scheme, std::uint64_t rows, std::uint64_t cols) {
  const test::TempDir dir;
  write_sparse_model(dir / "source", rows, cols);
  const auto run = test::run_octavo({"quantize", dir / "source", "-o", dir / "out", "--scheme", scheme, "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const auto json = parse_json(run.out, "summary");
  EXPECT_TRUE(json.ok()) << run.out;
  return json.ok() ? json->at("peak_memory_bytes").get<std::uint64_t>() : 0;
}

struct ManyTensors {
  std::size_t layers, experts, shards;
};

// The experts of a DeepSeek-V3, all headers and no data. Returns the number of tensors.
std::size_t write_sparse_experts(const std::filesystem::path& dir, const ManyTensors& model) {
  const auto shape_of = [](std::string_view kind) {
    return kind == "down_proj" ? Shape{7168, 2048} : Shape{2048, 7168};
  };
  std::vector<std::vector<TensorEntry>> shards(model.shards);
  std::map<std::string, std::string> weight_map;
  std::size_t count = 0;
  for (std::size_t layer = 0; layer < model.layers; ++layer) {
    for (std::size_t expert = 0; expert < model.experts; ++expert) {
      for (const char* kind : {"gate_proj", "up_proj", "down_proj"}) {
        const std::size_t shard = count++ * model.shards / (model.layers * model.experts * 3);
        std::string name = fmt::format("model.layers.{}.mlp.experts.{}.{}.weight", layer, expert, kind);
        weight_map.emplace(name, fmt::format("model-{:05}-of-{:06}.safetensors", shard + 1, model.shards));
        shards[shard].push_back({std::move(name), DType::kBF16, shape_of(kind), 0, 0});
      }
    }
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:06}.safetensors", i + 1, shards.size());
    const std::string header = lay_out_safetensors(shards[i], {{"format", "pt"}}).value();
    test::write_file(dir / name, header);
    const auto size = static_cast<off_t>(header.size() + shards[i].back().end);
    EXPECT_EQ(truncate((dir / name).c_str(), size), 0);
  }
  if (shards.size() > 1) {
    test::write_file(dir / "model.safetensors.index.json", format_shard_index(0, weight_map));
  }
  test::write_file(dir / "config.json",
                   fmt::format(R"({{"model_type": "deepseek_v3", "num_hidden_layers": {}}})", model.layers));
  return count;
}

// VmHWM of a running process, 0 when it has ended.
std::uint64_t high_water(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

// The peak of a command that prints: read while it waits for its output to be taken. (What wait4() tells of a child
// includes the memory of the process that it was forked from.)
std::uint64_t peak_while_printing(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  EXPECT_GT(fcntl(ends[0], F_SETPIPE_SZ, 4096), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (dup2(ends[1], 1) < 0) _exit(127);
    alarm(60);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  std::vector<char> buffer(256 << 10);
  std::uint64_t peak = 0;
  // The first part is there when the plan is; the rest may come faster.
  EXPECT_GT(read(ends[0], buffer.data(), 1), 0);
  peak = high_water(child);
  EXPECT_GT(fcntl(ends[0], F_SETPIPE_SZ, 256 << 10), 0);
  for (std::size_t i = 0; read(ends[0], buffer.data(), buffer.size()) > 0; ++i) {
    if (i % 50 == 0) peak = std::max(peak, high_water(child));
  }
  close(ends[0]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  return peak;
}

// docs/architecture.md, "Memory": what a plan takes.
TEST(Memory, ATensorCostsLessThanAKibibyte) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep freed memory";
#endif
  const test::TempDir dir;
  constexpr std::uint64_t kBytesPerTensor = 700;  // the promise is 1024, for all of a run
  write_sparse_experts(dir / "few", {1, 4, 1});
  const std::string shards = dir / "shards", one = dir / "one";
  const std::size_t tensors = write_sparse_experts(shards, {117, 256, 163});
  ASSERT_EQ(write_sparse_experts(one, {117, 256, 1}), tensors);
  ASSERT_GT(tensors, 89'000u);
  struct Row {
    std::string model;
    const char* scheme;
  };
  for (const Row& row : {Row{shards, "block"}, Row{shards, "tensor"}, Row{one, "block"}}) {
    const auto peak = [&](const std::string& model) {
      return peak_while_printing({OCTAVO_BINARY, "quantize", model, "--scheme", row.scheme, "--dry-run", "--json"});
    };
    const std::uint64_t small = peak(dir / "few"), large = peak(row.model);
    ASSERT_GT(small, 0u);
    EXPECT_LE(large, small + tensors * kBytesPerTensor)
        << row.scheme << ", " << row.model << ": " << (large - small) / tensors << " bytes a tensor";
  }
}

TEST(Memory, DoesNotGrowWithTheTensor) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep freed memory";
#endif
  constexpr std::uint64_t kMebi = 1u << 20, kSlack = 8 * kMebi;
  struct Row {
    const char* scheme;
    std::uint64_t small_rows, rows, cols;
  };
  for (const Row& row : std::vector<Row>{{"dynamic", 8 * 1024, 128 * 1024, 4096},
                                         {"tensor", 8 * 1024, 128 * 1024, 4096},
                                         {"block", 1, 1, 512 * kMebi}}) {
    const std::uint64_t small_cols = row.rows == 1 ? 32 * kMebi : row.cols;
    const std::uint64_t small = peak_memory(row.scheme, row.small_rows, small_cols);
    const std::uint64_t large = peak_memory(row.scheme, row.rows, row.cols);
    EXPECT_GT(small, 0u);
    EXPECT_LE(large, small + kSlack) << row.scheme << ": " << small << " bytes at 64 MiB, " << large << " at 1 GiB";
  }
}

}  // namespace
}  // namespace octavo
