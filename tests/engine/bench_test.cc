// What a benchmark counts, against numbers derived by hand; that it measures what it says. How fast is not tested.
#include "octavo/engine/bench.h"

#include <gtest/gtest.h>

#include "octavo/model/synthetic.h"
#include "tests/engine/open_tiny.h"

namespace octavo::engine {
namespace {

using backend::KvDType;

TEST(Bench, Spreads) {
  const Spread odd = spread_of({3, 1, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.max, 3);
  EXPECT_EQ(spread_of({4, 1, 2, 3}).median, 2.5);
  EXPECT_EQ(spread_of({7}).median, 7);
  EXPECT_EQ(spread_of({}).median, 0);
}

TEST(Bench, WorkOfLlama) {
  // Llama-3.2-1B: a layer's matrices are 2 of 2048 x 2048, 2 of 512 x 2048 and 3 of 8192 x 2048: 60,817,408 weights;
  // 16 layers: 973,078,528. The head is 128,256 x 2048: 262,668,288.
  const model::DecoderConfig config = model::synthetic_config("llama3.2-1b").value();
  const WeightBytes weights{.layers = 1'000'000, .head = 500'000};
  // A prompt of 512: two operations a weight and token; the head for one row. Keys and values of a position: 2 tensors
  // x 8 heads x 64 x 2 bytes x 16 layers = 32,768 bytes.
  const StepWork prompt = step_work(config, weights, KvDType::kBF16, {.count = 512, .logit_rows = 1});
  EXPECT_EQ(prompt.flops, 2.0 * 512 * 973'078'528 + 2.0 * 262'668'288);
  EXPECT_EQ(prompt.bytes, 1'500'000 + 512 * 32'768.0);
  // Its first chunk has no logits, and does not read the head.
  const StepWork chunk = step_work(config, weights, KvDType::kBF16, {.count = 512, .logit_rows = 0});
  EXPECT_EQ(chunk.flops, 2.0 * 512 * 973'078'528);
  EXPECT_EQ(chunk.bytes, 1'000'000 + 512 * 32'768.0);
  // The token at position 99 reads 100 positions.
  const StepWork token = step_work(config, weights, KvDType::kBF16, {.position = 99});
  EXPECT_EQ(token.flops, 2.0 * 973'078'528 + 2.0 * 262'668'288);
  EXPECT_EQ(token.bytes, 1'500'000 + 100 * 32'768.0);
  // Eight sequences read the weights once, their own keys and values each.
  const StepShape eight{.sequences = 8, .position = 99, .logit_rows = 8};
  EXPECT_EQ(step_work(config, weights, KvDType::kBF16, eight).flops, 8 * token.flops);
  EXPECT_EQ(step_work(config, weights, KvDType::kBF16, eight).bytes, 1'500'000 + 8 * 100 * 32'768.0);
  EXPECT_EQ(step_work(config, weights, KvDType::kFp8E4M3, eight).bytes, 1'500'000 + 8 * 100 * 16'384.0);
  EXPECT_EQ(step_work(config, weights, KvDType::kF32, eight).bytes, 1'500'000 + 8 * 100 * 65'536.0);
}

TEST(Bench, WindowsBoundWhatIsRead) {
  model::DecoderConfig config = model::synthetic_config("llama3.2-1b").value();
  config.windows.assign(16, 0);
  config.windows[0] = 10;  // one layer of 16: 2,048 bytes a position
  const StepWork token = step_work(config, {}, KvDType::kBF16, {.position = 99});
  EXPECT_EQ(token.bytes, (15 * 100 + 10) * 2048.0);
  // 4 tokens together see 10 + 3 positions.
  EXPECT_EQ(step_work(config, {}, KvDType::kBF16, {.count = 4, .position = 96}).bytes, (15 * 100 + 13) * 2048.0);
  EXPECT_EQ(step_work(config, {}, KvDType::kBF16, {.position = 3}).bytes, 16 * 4 * 2048.0);
}

TEST(Bench, WeightsAreCountedOnce) {
  // hidden 128, 4 heads of 32, 2 of keys and values, 192 wide, 320 tokens, 2 layers, BF16.
  constexpr double kLayer = 2.0 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 192 * 128), kHead = 2.0 * 320 * 128;
  for (const bool tied : {false, true}) {
    test::TinyDecoder shape;
    shape.tied = tied;
    shape.seed = tied ? 11 : 12;
    const Runner runner = test::open_tiny({}, shape);
    const WeightBytes bytes = weight_bytes(runner);
    // Layouts may pad a little.
    EXPECT_GE(static_cast<double>(bytes.layers), 2 * kLayer);
    EXPECT_LE(static_cast<double>(bytes.layers), 1.05 * 2 * kLayer);
    EXPECT_GE(static_cast<double>(bytes.head), kHead);
    EXPECT_LE(static_cast<double>(bytes.head), 1.05 * kHead);
  }
}

TEST(Bench, StepsOfABatch) {
  BenchOptions options;
  EXPECT_EQ(decode_steps(options, 1), 128u);
  EXPECT_EQ(decode_steps(options, 8), 16u);
  EXPECT_EQ(decode_steps(options, 32), 8u);
  options.generate = 4;
  EXPECT_EQ(decode_steps(options, 32), 4u);
}

TEST(Bench, ARunnerOfTheRightSize) {
  BenchOptions options;
  RunnerOptions runner;
  size_runner(options, runner);
  EXPECT_EQ(runner.chunk, 512u);
  EXPECT_EQ(runner.context, 512u);
  EXPECT_EQ(runner.sequences, 32u);
  EXPECT_EQ(runner.cache_tokens, 512u);  // 32 chains of one block of 16 are as many
  options.prompt = 2000;
  options.batches = {64};
  options.generate = 64 * 33;
  runner = {};
  size_runner(options, runner);
  EXPECT_EQ(runner.chunk, 512u);
  EXPECT_EQ(runner.context, 2000u);
  EXPECT_EQ(runner.cache_tokens, 64u * 48);  // 33 steps are three blocks
  options.prompt = 0;
  options.generate = 0;
  runner = {};
  size_runner(options, runner);
  EXPECT_EQ(runner.chunk, 1u);
  EXPECT_EQ(runner.cache_tokens, 16u);
}

void expect_ordered(const Spread& s) {
  EXPECT_GT(s.min, 0);
  EXPECT_LE(s.min, s.median);
  EXPECT_LE(s.median, s.max);
}

TEST(Bench, MeasuresWhatItSays) {
  BenchOptions options;
  options.prompt = 70;  // more than a chunk
  options.generate = 12;
  options.batches = {1, 3};
  options.repetitions = 2;
  options.probe_bytes = 64 << 20;
  RunnerOptions runner;
  runner.chunk = 32;
  size_runner(options, runner);
  std::vector<std::string> progress;
  const auto open = [&](int) -> Result<Runner> { return test::open_tiny(runner); };
  const auto run =
      run_bench(open, detect_isa(), 2, 0, options, [&](std::string_view what) { progress.emplace_back(what); });
  ASSERT_TRUE(run.ok()) << run.error().message;
  EXPECT_EQ(run->threads, 2);
  EXPECT_GT(run->load_seconds, 0);
  EXPECT_GT(run->first_token_seconds, run->load_seconds);
  EXPECT_EQ(run->dram_bytes, 64u << 20);
  const bool bf16 = detect_isa() == Isa::kAvx512Bf16 || detect_isa() == Isa::kAmx;
  EXPECT_EQ(run->peak, bf16 ? "bf16" : "fma");
  expect_ordered(run->limits.dram_gb_per_s);
  expect_ordered(run->limits.fma_gflop_per_s);
  EXPECT_EQ(run->limits.bf16_gflop_per_s.has_value(), has_isa(Isa::kAvx512Bf16));
  ASSERT_EQ(run->tests.size(), 3u);
  EXPECT_EQ(run->tests[0].name, "pp70");
  EXPECT_EQ(run->tests[0].steps, 3u);
  EXPECT_EQ(run->tests[0].tokens, 70u);
  EXPECT_EQ(run->tests[1].name, "tg12");
  EXPECT_EQ(run->tests[1].tokens, 12u);
  EXPECT_EQ(run->tests[2].name, "batch 3");
  EXPECT_EQ(run->tests[2].steps, 8u);
  EXPECT_EQ(run->tests[2].tokens, 24u);
  EXPECT_EQ(run->prefill(), &run->tests[0]);
  EXPECT_EQ(run->decode(), &run->tests[1]);
  for (const BenchTest& test : run->tests) {
    expect_ordered(test.seconds);
    expect_ordered(test.tokens_per_s);
    expect_ordered(test.gb_per_s);
    expect_ordered(test.gflop_per_s);
    expect_ordered(test.ratio);
    EXPECT_NEAR(test.tokens_per_s.max * test.seconds.min, static_cast<double>(test.tokens), 1e-6);
    EXPECT_NEAR(test.gflop_per_s.max * test.seconds.min, test.work.flops / 1e9, 1e-9);
  }
  // 70 tokens through 2 layers of 2 x 128 x 128 + 2 x 64 x 128 + 3 x 192 x 128 weights, one row through the head.
  EXPECT_EQ(run->tests[0].work.flops, 2.0 * 70 * 2 * 122'880 + 2.0 * 320 * 128);
  EXPECT_EQ(run->tests[1].work.flops, 12 * (2.0 * 2 * 122'880 + 2.0 * 320 * 128));
  EXPECT_EQ(progress, (std::vector<std::string>{"load", "pp70 1/2", "pp70 2/2", "tg12 1/2", "tg12 2/2", "batch 3 1/2",
                                                "batch 3 2/2"}));
}

TEST(Bench, FailuresToOpenComeBack) {
  const auto open = [](int) -> Result<Runner> { return failure("no such model"); };
  const auto run = run_bench(open, Isa::kScalar, 1, 0, {}, {});
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(run.error().message, "no such model");
}

}  // namespace
}  // namespace octavo::engine
