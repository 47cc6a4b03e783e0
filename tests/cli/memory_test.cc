// Peak memory does not grow with the tensor: one linear of 1 GiB against one of 64 MiB, in both passes and as one
// giant row. The source is a sparse file of zeros, so it costs no disk. `make test-large` does 8.6 GB.
#include <gtest/gtest.h>
#include <unistd.h>

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
