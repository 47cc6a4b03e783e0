// Scoring: the same bits however sequences are packed into steps, and every failure by name.
#include "octavo/engine/score.h"

#include <bit>
#include <cmath>
#include <functional>

#include "tests/engine/open_tiny.h"
#include "tests/support/random_tensor.h"

namespace octavo::engine {
namespace {

using test::CheckpointBuilder;
using Tokens = std::vector<std::int32_t>;

Tokens random_tokens(test::Random& random, std::size_t count) {
  Tokens out(count);
  for (std::int32_t& token : out) token = static_cast<std::int32_t>(random.below(320));
  return out;
}

std::vector<Scores> score_all(Runner& runner, const std::vector<Tokens>& sequences, int top = 0) {
  std::vector<Scores> out;
  const Status status = score(runner, sequences, top, [&](std::size_t index, Scores scores) -> Status {
    EXPECT_EQ(index, out.size()) << "in order, each once";
    out.push_back(std::move(scores));
    return {};
  });
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  EXPECT_EQ(out.size(), sequences.size());
  return out;
}

void expect_same_bits(const std::vector<Scores>& a, const std::vector<Scores>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].logprobs.size(), b[i].logprobs.size()) << "sequence " << i;
    EXPECT_EQ(a[i].ranks, b[i].ranks) << "sequence " << i;
    for (std::size_t j = 0; j < a[i].logprobs.size(); ++j) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(a[i].logprobs[j]), std::bit_cast<std::uint32_t>(b[i].logprobs[j]))
          << "sequence " << i << ", token " << j;
    }
  }
}

// Scores alone, which every other packing has to give.
std::vector<Scores> expect_packing_invisible(const std::function<Runner(RunnerOptions)>& open) {
  test::Random random(17);
  std::vector<Tokens> sequences;
  for (const std::size_t length : {0u, 1u, 2u, 33u, 16u, 17u, 100u, 1u, 0u, 250u, 3u, 15u, 64u, 90u, 5u}) {
    sequences.push_back(random_tokens(random, length));
  }
  Runner alone = open({});
  std::vector<Scores> expected;
  for (const Tokens& tokens : sequences) {
    auto scores = score_all(alone, {tokens});
    expected.push_back(std::move(scores.at(0)));
  }
  struct Setting {
    std::uint64_t chunk, context, cache;
  };
  // The last ones leave room for the longest sequence alone, so that blocks run out before a step is full.
  for (const Setting s : {Setting{512, 0, 0}, {64, 0, 0}, {7, 0, 0}, {1, 0, 0}, {512, 250, 250}, {64, 250, 256}}) {
    SCOPED_TRACE(testing::Message() << "chunk " << s.chunk << ", cache " << s.cache);
    RunnerOptions options;
    options.chunk = s.chunk;
    options.context = s.context;
    options.cache_tokens = s.cache;
    Runner runner = open(options);
    expect_same_bits(score_all(runner, sequences), expected);
    expect_same_bits(score_all(runner, sequences), expected);  // what is in the cache does not matter either
  }
  return expected;
}

TEST(Score, PackingDoesNotChangeABit) {
  expect_packing_invisible([](RunnerOptions options) { return test::open_tiny(options); });
}

// Frequencies follow the length of the line, not that of the step it comes in, nor its neighbours'.
TEST(Score, DynamicRopeSeesTheWholeLine) {
  const test::TempDir dir;
  CheckpointBuilder builder = test::tiny_chat_model({.max_positions = 64});
  builder.config()["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 8.0}};
  builder.write(dir / "dynamic");
  const auto scores =
      expect_packing_invisible([&](RunnerOptions options) { return test::open_model(dir / "dynamic", options); });
  const auto plain =
      expect_packing_invisible([&](RunnerOptions options) { return test::open_tiny(options, {.max_positions = 512}); });
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const bool beyond = scores[i].logprobs.size() > 64;  // the trained length
    EXPECT_EQ(scores[i].logprobs != plain[i].logprobs, beyond) << scores[i].logprobs.size() << " tokens";
  }
}

TEST(Score, OneEntryAToken) {
  Runner runner = test::open_tiny();
  const auto scores = score_all(runner, {{5, 6, 7}, {}, {9}});
  EXPECT_EQ(scores[0].logprobs.size(), 3u);
  for (std::size_t i = 1; i < 3; ++i) {
    EXPECT_LT(scores[0].logprobs[i], 0);
    EXPECT_GE(scores[0].ranks[i], 1);
    EXPECT_LE(scores[0].ranks[i], 320);
  }
  EXPECT_TRUE(scores[0].top.empty());
  EXPECT_TRUE(scores[1].logprobs.empty());
  EXPECT_EQ(scores[2].logprobs.size(), 1u);
}

TEST(Score, TopAgreesWithTheRest) {
  test::Random random(4);
  const std::vector<Tokens> sequences = {random_tokens(random, 40), {}, random_tokens(random, 20)};
  Runner runner = test::open_tiny();
  const auto plain = score_all(runner, sequences);
  const auto all = score_all(runner, sequences, 320);
  const auto few = score_all(runner, sequences, 3);
  expect_same_bits(all, plain);
  expect_same_bits(few, plain);
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    ASSERT_EQ(all[i].top.size(), sequences[i].size());
    for (std::size_t j = 1; j < sequences[i].size(); ++j) {
      ASSERT_EQ(all[i].top[j].size(), 320u);
      ASSERT_EQ(few[i].top[j].size(), 3u);
      double sum = 0;
      bool found = false;
      for (std::size_t k = 0; k < 320; ++k) {
        const TokenLogprob& t = all[i].top[j][k];
        sum += std::exp(static_cast<double>(t.logprob));
        EXPECT_LE(t.logprob, all[i].top[j][k == 0 ? 0 : k - 1].logprob);
        EXPECT_TRUE(k >= 3 || t == few[i].top[j][k]);
        if (t.token != sequences[i][j]) continue;
        found = true;
        EXPECT_EQ(t.logprob, plain[i].logprobs[j]);
        EXPECT_EQ(t.rank, plain[i].ranks[j]);
      }
      EXPECT_NEAR(sum, 1, 1e-5);
      EXPECT_TRUE(found);
    }
    EXPECT_TRUE(sequences[i].empty() || all[i].top[0].empty());
  }
}

TEST(Score, Failures) {
  RunnerOptions options;
  options.context = 32;
  Runner runner = test::open_tiny(options);
  const auto message = [&](const std::vector<Tokens>& sequences) {
    const Status status = score(runner, sequences, 0, [](std::size_t, Scores) { return Status(); });
    return status.ok() ? std::string("no failure") : status.error().message;
  };
  EXPECT_EQ(message({Tokens(32, 1)}), "no failure");
  EXPECT_EQ(message({{1}, Tokens(33, 1)}), "sequence 1: 33 tokens are more than the context of 32");
  EXPECT_EQ(message({{1}, {1, 320}}), "sequence 1: token id 320 is outside the model's vocabulary of 320");
  EXPECT_EQ(message({{-1}}), "sequence 0: token id -1 is outside the model's vocabulary of 320");
  // The sink's own error ends the run.
  std::size_t calls = 0;
  const Status status = score(runner, std::vector<Tokens>(5, Tokens{1, 2}), 0, [&](std::size_t, Scores) -> Status {
    return ++calls == 2 ? Status(failure("disk full")) : Status();
  });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "disk full");
  EXPECT_EQ(calls, 2u);
}

TEST(Score, LogitsThatAreNotNumbers) {
  const test::TempDir dir;
  test::CheckpointBuilder model = test::tiny_chat_model({.dtype = DType::kF32});
  auto& bytes = model.at("model.norm.weight").bytes;
  std::fill(bytes.begin(), bytes.begin() + 4, std::byte{0xFF});  // a NaN
  Runner runner = test::open_model(model.write(dir / "m"));
  const std::vector<Tokens> sequences = {{1}, {1, 2, 3}};
  const Status status = score(runner, sequences, 0, [](std::size_t, Scores) { return Status(); });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "sequence 1: the model's logits for token 1 are not finite numbers");
}

}  // namespace
}  // namespace octavo::engine
