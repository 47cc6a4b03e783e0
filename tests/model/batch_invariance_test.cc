// Promise 6: a token's logits are the same bits whatever else is in the batch, however its prompt was cut, in which
// blocks of the cache it lies, whether it was prefilled or decoded, and on however many threads. Random models, random
// requests, random schedules; every instruction set is compared with itself.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <numeric>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "octavo/quant/online.h"
#include "tests/model/run_model.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"

namespace octavo::test {
namespace {

using backend::Compute;
using backend::KvDType;
using model::ActivationMode;

constexpr int kModels = 2;     // random models of every setup
constexpr int kSchedules = 4;  // of every model
// One request is long enough for several runs of keys in attention, and all of them for several runs of tokens in a
// linear layer.
constexpr std::uint64_t kRequests = 5, kLongRequest = 150, kShortRequests = 90;
constexpr std::uint64_t kTokens = kLongRequest + (kRequests - 1) * kShortRequests;
constexpr std::array kThreads{1, 2, 3, 5};
constexpr std::array<std::uint64_t, 4> kBlockSizes{4, 8, 16, 32};

struct Setup {
  std::string name;
  std::string family = "llama";
  std::string quantize = "";  // a name of online_spec; "": none
  ActivationMode activations = ActivationMode::kBF16;
  Compute compute = Compute::kBF16;
  KvDType kv = KvDType::kBF16;
  DType dtype = DType::kBF16;
  friend void PrintTo(const Setup& setup, std::ostream* out) { *out << setup.name; }
};

const Setup kSetups[] = {
    {.name = "bf16"},
    {.name = "f32", .family = "qwen3", .compute = Compute::kF32, .kv = KvDType::kF32, .dtype = DType::kF32},
    {.name = "f16_with_bf16_cache", .compute = Compute::kF32, .dtype = DType::kF16},
    {.name = "fp8_cache", .kv = KvDType::kFp8E4M3},
    {.name = "window", .family = "mistral"},
    {.name = "window_f32_fp8_cache", .family = "mistral", .compute = Compute::kF32, .kv = KvDType::kFp8E5M2},
    {.name = "block_w8a16", .family = "qwen3", .quantize = "fp8_block"},
    {.name = "block_w8a16_f32", .quantize = "fp8_block", .compute = Compute::kF32, .kv = KvDType::kF32},
    {.name = "block_w8a8", .quantize = "fp8_block", .activations = ActivationMode::kFp8},
    {.name = "block_w8a8_f32",
     .family = "qwen3",
     .quantize = "fp8_block",
     .activations = ActivationMode::kFp8,
     .compute = Compute::kF32,
     .kv = KvDType::kF32},
    {.name = "channel_w8a16", .quantize = "fp8_channel", .kv = KvDType::kFp8E4M3},
    {.name = "channel_w8a8", .family = "qwen3", .quantize = "fp8_channel", .activations = ActivationMode::kFp8},
    {.name = "channel_w8a8_f32",
     .quantize = "fp8_channel",
     .activations = ActivationMode::kFp8,
     .compute = Compute::kF32,
     .kv = KvDType::kFp8E4M3},
    {.name = "tensor_w8a8_window", .family = "mistral", .quantize = "fp8", .activations = ActivationMode::kFp8},
};

template <typename T>
T pick(Random& random, std::initializer_list<T> values) {
  return values.begin()[random.below(values.size())];
}

// Sizes that fill vectors, tiles and blocks, and sizes that do not.
CheckpointBuilder random_model(const Setup& setup, Random& random) {
  TinyDecoder shape{.model_type = setup.family, .dtype = setup.dtype, .seed = random.next() % 100'000};
  shape.hidden = pick<std::uint64_t>(random, {64, 120, 160, 256});
  shape.intermediate = pick<std::uint64_t>(random, {96, 136, 256, 300});
  shape.vocab = pick<std::uint64_t>(random, {64, 97, 200});
  shape.kv_heads = pick<std::uint64_t>(random, {1, 2, 3});
  shape.heads = shape.kv_heads * pick<std::uint64_t>(random, {1, 2, 4});
  shape.head_dim = pick<std::uint64_t>(random, {16, 20, 32, 64});
  shape.tied = random.below(2) == 0;
  CheckpointBuilder builder = tiny_decoder(shape);
  if (setup.family == "mistral") {
    builder.config()["sliding_window"] = pick<std::uint64_t>(random, {1, 5, 19, 70});
  }
  return builder;
}

using Tokens = std::vector<std::int32_t>;
using Logits = std::vector<std::vector<float>>;  // [position][vocab] of one request

// A random permutation of 0 .. count - 1.
std::vector<std::int32_t> shuffled(std::uint64_t count, Random& random) {
  std::vector<std::int32_t> out(count);
  std::iota(out.begin(), out.end(), 0);
  for (std::size_t i = count; i > 1; --i) std::swap(out[i - 1], out[random.below(i)]);
  return out;
}

// Runs the requests side by side in steps of random composition. Empty after a failure.
std::vector<Logits> run_schedule(RunModel& model, const std::vector<Tokens>& requests, Random& random) {
  const std::uint64_t block_size = model.cache().shape().block_size;
  const std::vector<std::int32_t> pool = shuffled(model.cache().shape().blocks, random);
  std::vector<std::vector<std::int32_t>> blocks(requests.size());
  std::size_t taken = 0;
  for (std::size_t r = 0; r < requests.size(); ++r) {
    const std::size_t count = (requests[r].size() + block_size - 1) / block_size;
    blocks[r].assign(pool.begin() + static_cast<std::ptrdiff_t>(taken),
                     pool.begin() + static_cast<std::ptrdiff_t>(taken + count));
    taken += count;
  }
  std::vector<Logits> out(requests.size());
  for (std::size_t r = 0; r < requests.size(); ++r) out[r].resize(requests[r].size());
  std::vector<std::uint64_t> done(requests.size(), 0);
  for (;;) {
    model::BatchPlan plan;
    std::vector<std::pair<std::size_t, std::uint64_t>> places;  // of every row: request, position
    for (const std::int32_t index : shuffled(requests.size(), random)) {
      const auto r = static_cast<std::size_t>(index);
      const std::uint64_t left = requests[r].size() - done[r];
      if (left == 0 || random.below(4) == 0) continue;
      // Decode, a chunk, or all that is left.
      const std::uint64_t kind = random.below(3);
      const std::uint64_t count = kind == 0 ? 1 : kind == 1 ? 1 + random.below(left) : left;
      plan.sequences.push_back({.row = plan.tokens.size(), .count = count, .position = done[r], .blocks = blocks[r]});
      for (std::uint64_t i = 0; i < count; ++i) {
        plan.tokens.push_back(requests[r][done[r] + i]);
        places.emplace_back(r, done[r] + i);
      }
      done[r] += count;
    }
    if (plan.tokens.empty()) {
      const bool finished = std::equal(done.begin(), done.end(), requests.begin(),
                                       [](std::uint64_t d, const Tokens& t) { return d == t.size(); });
      if (finished) return out;
      continue;
    }
    plan.logit_rows = shuffled(plan.tokens.size(), random);
    const std::vector<float> logits = model.step(plan);
    if (logits.empty()) return {};
    for (std::size_t i = 0; i < plan.logit_rows.size(); ++i) {
      const auto [r, position] = places[static_cast<std::size_t>(plan.logit_rows[i])];
      const auto row = logits.begin() + static_cast<std::ptrdiff_t>(i * model.vocab());
      out[r][position].assign(row, row + static_cast<std::ptrdiff_t>(model.vocab()));
    }
  }
}

// The first difference in bits between two requests' logits; "" where there is none.
std::string difference(const Logits& want, const Logits& got) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    for (std::size_t v = 0; v < want[i].size(); ++v) {
      if (std::bit_cast<std::uint32_t>(want[i][v]) == std::bit_cast<std::uint32_t>(got[i][v])) continue;
      return fmt::format("position {}, token {}: {} alone, {} in the batch", i, v, want[i][v], got[i][v]);
    }
  }
  return "";
}

// The logits must depend on the whole sequence, or equal bits would prove nothing.
bool uses_context(RunModel& model, const Tokens& tokens) {
  Tokens changed = tokens;  // all but the last: one token may weigh less than rounding does
  for (std::size_t i = 0; i + 1 < changed.size(); ++i) {
    changed[i] = (changed[i] + 1) % static_cast<std::int32_t>(model.vocab());
  }
  const auto vocab = static_cast<std::ptrdiff_t>(model.vocab());
  const std::vector<float> a = model.logits(tokens), b = model.logits(changed);
  return !std::equal(a.end() - vocab, a.end(), b.end() - vocab);
}

std::uint64_t seed_of(const std::string& name) {
  return std::accumulate(name.begin(), name.end(), std::uint64_t{0},
                         [](std::uint64_t sum, char c) { return (sum * 31 + static_cast<unsigned char>(c)) % 1000; });
}

class BatchInvarianceTest : public testing::TestWithParam<std::tuple<Setup, Isa>> {};

TEST_P(BatchInvarianceTest, LogitsAreTheSameBits) {
  const auto& [setup, isa] = GetParam();
  for (int m = 0; m < kModels; ++m) {
    Random random(0xB17 + static_cast<std::uint64_t>(m) * 1000 + seed_of(setup.name));
    const TempDir dir;
    const CheckpointBuilder builder = random_model(setup, random);
    builder.write(dir.path());
    RunSettings settings{.isa = isa,
                         .threads = 1,
                         .compute = setup.compute,
                         .activations = setup.activations,
                         .kv = setup.kv,
                         .max_tokens = kTokens,
                         .cache_blocks = kLongRequest / 16 + 1};
    if (!setup.quantize.empty()) {
      auto spec = quant::online_spec(setup.quantize);
      ASSERT_TRUE(spec.ok()) << spec.error().message;
      settings.quantize = *spec;
    }
    const auto alone = RunModel::open(dir.path(), settings);
    ASSERT_TRUE(alone);
    ASSERT_EQ(alone->loaded().report.fp8_linears > 0, !setup.quantize.empty());

    std::vector<Tokens> requests(kRequests);
    std::vector<Logits> want(kRequests);
    for (std::size_t r = 0; r < requests.size(); ++r) {
      requests[r].resize(r == 0 ? kLongRequest : 1 + random.below(kShortRequests));
      for (std::int32_t& token : requests[r]) token = static_cast<std::int32_t>(random.below(alone->vocab()));
      const std::vector<float> logits = alone->logits(requests[r]);
      ASSERT_FALSE(logits.empty());
      for (std::size_t i = 0; i < requests[r].size(); ++i) {
        const auto row = logits.begin() + static_cast<std::ptrdiff_t>(i * alone->vocab());
        want[r].emplace_back(row, row + static_cast<std::ptrdiff_t>(alone->vocab()));
      }
    }
    // A window of one token sees no other.
    if (builder.config().value("sliding_window", 0) != 1) {
      EXPECT_TRUE(uses_context(*alone, requests[0]));
    }

    for (int trial = 0; trial < kSchedules; ++trial) {
      settings.threads = kThreads[static_cast<std::size_t>(trial) % kThreads.size()];
      settings.block_size = kBlockSizes[random.below(kBlockSizes.size())];
      settings.cache_blocks = kTokens / settings.block_size + kRequests + 3;
      const auto batched = RunModel::open(dir.path(), settings);
      ASSERT_TRUE(batched);
      const std::vector<Logits> got = run_schedule(*batched, requests, random);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t r = 0; r < want.size(); ++r) {
        ASSERT_EQ(difference(want[r], got[r]), "")
            << "model " << m << ": " << builder.config().dump() << "\nschedule " << trial << ", " << settings.threads
            << " threads, blocks of " << settings.block_size << ", request " << r;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Setups, BatchInvarianceTest,
                         testing::Combine(testing::ValuesIn(kSetups), testing::ValuesIn(machine_isas())),
                         [](const auto& param) {
                           return std::get<0>(param.param).name + "_" + std::string(isa_name(std::get<1>(param.param)));
                         });

}  // namespace
}  // namespace octavo::test
