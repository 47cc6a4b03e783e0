// How many blocks an engine gets, and options that contradict each other.
#include "tests/engine/engine_support.h"

namespace octavo::engine {
namespace {

TEST(EngineOptions, Contradictions) {
  const auto error = [](const EngineOptions& options) {
    const Status status = check_engine_options(options);
    return status.ok() ? "" : status.error().message;
  };
  EXPECT_EQ(error({}), "");
  EXPECT_EQ(error({.max_num_seqs = 0}), "max_num_seqs 0: must be 1 or more");
  EXPECT_EQ(error({.max_num_batched_tokens = 8, .max_num_seqs = 9}),
            "max_num_batched_tokens 8: must be at least max_num_seqs, 9: a step has a token of each");
  EXPECT_EQ(error({.kv_memory = 1, .gpu_memory_utilization = 0.5}),
            "kv_memory and gpu_memory_utilization say the same: give one of them");
  for (const double share : {0.0, -1.0, 1.5}) {
    EXPECT_NE(error({.gpu_memory_utilization = share}), "") << share;
  }
  EXPECT_NE(error({.gpu_memory_utilization = std::numeric_limits<double>::quiet_NaN()}), "");
}

TEST(EngineOptions, BlocksThatFit) {
  const auto fit = [](const EngineOptions& options, std::uint64_t context, std::uint64_t free) {
    const Result<std::uint64_t> blocks = kv_blocks_that_fit(options, context, 1000, free);
    return blocks.ok() ? std::to_string(*blocks) : blocks.error().message;
  };
  EXPECT_EQ(fit({.gpu_memory_utilization = 0.5}, 160, 100'000), "50");
  EXPECT_EQ(fit({}, 160, 100'000), "50");
  EXPECT_EQ(fit({.kv_memory = 25'999}, 160, 100'000), "25");
  // More than all could use at once is left to others.
  EXPECT_EQ(fit({.max_num_seqs = 3, .gpu_memory_utilization = 1.0}, 160, 100'000), "30");
  EXPECT_EQ(fit({.gpu_memory_utilization = 1.0}, 160, 10'000), "10");
  EXPECT_EQ(
      fit({.gpu_memory_utilization = 0.5}, 176, 20'000),
      "a sequence of 176 tokens needs 11.0 kB of KV cache, but gpu_memory_utilization 0.5 of the 20.0 kB that the "
      "weights leave gives 10.0 kB: lower max_model_len to 160 or raise the share");
  EXPECT_EQ(
      fit({.kv_memory = 9'000}, 160, 20'000),
      "a sequence of 160 tokens needs 10.0 kB of KV cache, but kv_memory gives 9.0 kB: lower max_model_len to 144 "
      "or raise it");
  EXPECT_EQ(fit({.kv_memory = 30'000}, 160, 20'000), "kv_memory 30.0 kB: only 20.0 kB are free after the weights");
  EXPECT_EQ(fit({.max_num_seqs = 4, .gpu_memory_utilization = 1.0}, 16, ~std::uint64_t{0}), "4");
}

TEST(EngineOptions, TheCacheHasTheSizeThatWasAskedFor) {
  const test::TempDir dir;
  const std::filesystem::path folder = test::tiny_chat_model().write(dir / "model");
  EngineOptions options{.max_num_batched_tokens = 64, .max_num_seqs = 4, .max_model_len = 128};
  RunnerOptions base;
  base.load.isa = detect_isa();
  base.load.threads = 2;
  const auto opened = [&] {
    Result<RunnerFolder> read = read_runner_folder(folder);
    return Engine::open(std::move(read).value(), base, options);
  };
  EXPECT_EQ((*opened())->kv_blocks(), 4 * 8u);  // all that four sequences could use
  // BF16, two layers, two heads of 32, keys and values: 8 KiB a block.
  options.kv_memory = 20 * 8192;
  EXPECT_EQ((*opened())->kv_blocks(), 20u);
  options.kv_memory = 7 * 8192;
  const auto refused = opened();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "a sequence of 128 tokens needs 65.5 kB of KV cache, but kv_memory gives 57.3 kB: lower max_model_len to "
            "112 or raise it");
}

}  // namespace
}  // namespace octavo::engine
