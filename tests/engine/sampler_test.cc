// The sampler: its generator, which tokens each cut leaves, and that draws follow the exact distribution.
#include "octavo/engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "octavo/engine/exp.h"
#include "octavo/engine/random.h"
#include "tests/support/random_tensor.h"

namespace octavo::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Ten tokens of different likelihood; not sorted.
const std::vector<float> kLogits = {0.5f, 3.0f, -1.0f, 2.0f, 1.0f, -2.0f, 2.5f, 0.0f, -0.5f, 1.5f};

std::vector<float> random_logits(std::size_t count, std::uint64_t seed) {
  test::Random random(seed);
  std::vector<float> out(count);
  for (float& logit : out) logit = static_cast<float>(3 * random.normal());
  return out;
}

std::int32_t draw(const SamplingParams& params, std::span<const float> logits, std::uint64_t index,
                  std::span<const std::int32_t> history = {}) {
  Result<Sample> sample = Sampler(params, 0).sample(logits, history, index, -1);
  EXPECT_TRUE(sample.ok()) << (sample.ok() ? "" : sample.error().message);
  return sample.ok() ? sample->chosen.token : -1;
}

// How often each token came in `draws` draws.
std::map<std::int32_t, std::uint64_t> counts(const SamplingParams& params, std::span<const float> logits,
                                             std::uint64_t draws, std::span<const std::int32_t> history = {}) {
  std::map<std::int32_t, std::uint64_t> out;
  Sampler sampler(params, 0);
  for (std::uint64_t i = 0; i < draws; ++i) {
    Result<Sample> sample = sampler.sample(logits, history, i, -1);
    if (!sample.ok()) return ADD_FAILURE() << sample.error().message, out;
    ++out[sample->chosen.token];
  }
  return out;
}

// Pearson's statistic of counts against probabilities (which are normalized here), and its degrees of freedom.
struct ChiSquare {
  double statistic = 0;
  double freedom = -1;
};
ChiSquare chi_square(const std::map<std::int32_t, std::uint64_t>& counts, const std::map<std::int32_t, double>& weights,
                     std::uint64_t draws) {
  double total = 0;
  for (const auto& [token, weight] : weights) total += weight;
  ChiSquare out;
  for (const auto& [token, weight] : weights) {
    const double expected = weight / total * static_cast<double>(draws);
    EXPECT_GT(expected, 5) << "too few draws for the test";
    const auto found = counts.find(token);
    const double observed = found == counts.end() ? 0 : static_cast<double>(found->second);
    out.statistic += (observed - expected) * (observed - expected) / expected;
    out.freedom += 1;
  }
  for (const auto& [token, count] : counts) EXPECT_TRUE(weights.contains(token)) << "drew token " << token;
  return out;
}
// Wilson and Hilferty's approximation of the quantile that a right sampler exceeds once in a million.
double chi_square_limit(double freedom) {
  constexpr double kNormalQuantile = 4.7534;
  if (freedom == 0) return 0;
  const double a = 2 / (9 * freedom);
  return freedom * std::pow(1 - a + kNormalQuantile * std::sqrt(a), 3);
}
void expect_distribution(const SamplingParams& params, std::span<const float> logits,
                         const std::map<std::int32_t, double>& weights, std::span<const std::int32_t> history = {},
                         std::uint64_t draws = 100'000) {
  const ChiSquare chi = chi_square(counts(params, logits, draws, history), weights, draws);
  EXPECT_LE(chi.statistic, chi_square_limit(chi.freedom));
}

std::map<std::int32_t, double> softmax(std::span<const float> logits, double temperature,
                                       const std::set<std::int32_t>& only = {}) {
  std::map<std::int32_t, double> out;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (!only.empty() && !only.contains(static_cast<std::int32_t>(id))) continue;
    out[static_cast<std::int32_t>(id)] = std::exp(static_cast<double>(logits[id]) / temperature);
  }
  return out;
}

TEST(Philox, KnownAnswers) {
  // Random123's kat_vectors for philox4x32, 10 rounds.
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformIsUniformInEveryArgument) {
  // Seeds, streams and indices are each a sequence of independent numbers.
  for (int argument = 0; argument < 3; ++argument) {
    constexpr std::uint64_t kDraws = 64'000;
    constexpr std::int32_t kBins = 64;
    std::map<std::int32_t, std::uint64_t> bins;
    for (std::uint64_t i = 0; i < kDraws; ++i) {
      const double u = uniform(argument == 0 ? i : 7, argument == 1 ? i : 8, argument == 2 ? i : 9);
      ASSERT_GE(u, 0);
      ASSERT_LT(u, 1);
      ++bins[static_cast<std::int32_t>(u * kBins)];
    }
    std::map<std::int32_t, double> equal;
    for (std::int32_t bin = 0; bin < kBins; ++bin) equal[bin] = 1;
    EXPECT_LT(chi_square(bins, equal, kDraws).statistic, chi_square_limit(kBins - 1)) << "argument " << argument;
  }
}

TEST(Sampler, FollowsTheDistribution) {
  for (const double temperature : {0.7, 1.0, 2.0}) {
    SCOPED_TRACE(temperature);
    for (const std::uint64_t seed : {0u, 1u, 123456789u}) {
      expect_distribution({.temperature = temperature, .seed = seed}, kLogits, softmax(kLogits, temperature));
    }
  }
}

TEST(Sampler, TopKLeavesTheKMostLikely) {
  expect_distribution({.top_k = 3}, kLogits, softmax(kLogits, 1, {1, 6, 3}));
  expect_distribution({.top_k = 1}, kLogits, {{1, 1.0}});
  expect_distribution({.top_k = 100}, kLogits, softmax(kLogits, 1));
  expect_distribution({.top_k = 0}, kLogits, softmax(kLogits, 1));
  expect_distribution({.top_k = -1}, kLogits, softmax(kLogits, 1));
  // What ties with the k-th stays.
  const std::vector<float> ties = {1, 2, 1, 0, 1};
  expect_distribution({.top_k = 2}, ties, softmax(ties, 1, {0, 1, 2, 4}));
}

// The smallest set, most likely first, whose probability reaches p.
std::set<std::int32_t> top_p_set(std::span<const float> logits, double p) {
  const auto weights = softmax(logits, 1);
  std::vector<std::pair<double, std::int32_t>> order;
  double total = 0, mass = 0;
  for (const auto& [token, weight] : weights) order.emplace_back(-weight, token), total += weight;
  std::sort(order.begin(), order.end());
  std::set<std::int32_t> out;
  for (const auto& [weight, token] : order) {
    if (mass >= p * total) break;
    out.insert(token);
    mass -= weight;
  }
  return out;
}

TEST(Sampler, TopPLeavesTheSmallestSetThatReachesIt) {
  for (const double p : {0.0001, 0.3, 0.5, 0.9, 0.99}) {
    SCOPED_TRACE(p);
    expect_distribution({.top_p = p}, kLogits, softmax(kLogits, 1, top_p_set(kLogits, p)));
  }
  // Exactly reached: 1/2 of {1/4, 1/4, 1/4, 1/4} is two tokens, the smaller ids.
  const std::vector<float> equal = {0, 0, 0, 0};
  expect_distribution({.top_p = 0.5}, equal, softmax(equal, 1, {0, 1}));
}

TEST(Sampler, TopPBeyondTheFirstRoundOfThePartialSort) {
  std::vector<float> logits(600, 0.0f);
  for (std::size_t i = 0; i < logits.size(); i += 7) logits[i] = 2.0f;
  for (const double p : {0.2, 0.7, 0.9}) {
    SCOPED_TRACE(p);
    expect_distribution({.top_p = p}, logits, softmax(logits, 1, top_p_set(logits, p)), {}, 20'000);
  }
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  for (const double p : {0.05, 0.3, 0.7, 1.0}) {
    SCOPED_TRACE(p);
    std::set<std::int32_t> allowed;
    for (std::size_t id = 0; id < kLogits.size(); ++id) {
      if (std::exp(static_cast<double>(kLogits[id]) - 3.0) >= p) allowed.insert(static_cast<std::int32_t>(id));
    }
    expect_distribution({.min_p = p}, kLogits, softmax(kLogits, 1, allowed));
  }
}

TEST(Sampler, OrderIsTemperatureMinPTopKTopP) {
  // At temperature 2 the likelihoods relative to token 1 are exp((logit - 3) / 2): 1, .78 (6), .61 (3), .47 (9),
  // .37 (4). min_p 0.4 leaves four, top-k 3 three, and 0.7 of what those three have is two of them. Were top-p the
  // first of the cuts, or taken before the temperature, other sets would be left.
  expect_distribution({.temperature = 2, .top_k = 3, .top_p = 0.7, .min_p = 0.4}, kLogits, softmax(kLogits, 2, {1, 6}));
  // top-p after top-k: of {1, 6} token 1 alone has 0.62.
  expect_distribution({.top_k = 2, .top_p = 0.6}, kLogits, {{1, 1.0}});
  // Before top-k it would have left {1, 6, ...} and then both.
  EXPECT_GT(top_p_set(kLogits, 0.6).size(), 1u);
}

TEST(Sampler, RepetitionPenaltyOverTheHistory) {
  std::vector<float> penalized = kLogits;
  penalized[1] /= 1.5f;                                       // likely: divided
  penalized[2] *= 1.5f;                                       // unlikely: multiplied, which is less likely too
  const std::vector<std::int32_t> history = {2, 1, 1, 2, 1};  // how often does not matter
  expect_distribution({.repetition_penalty = 1.5}, kLogits, softmax(penalized, 1), history);
  // It decides before temperature 0, too.
  EXPECT_EQ(draw({.temperature = 0, .repetition_penalty = 1.5}, kLogits, 0, history), 6);
  EXPECT_EQ(draw({.temperature = 0}, kLogits, 0, history), 1);
  // Below 1 it asks for repetition.
  EXPECT_EQ(draw({.temperature = 0, .repetition_penalty = 0.5}, kLogits, 0, std::vector<std::int32_t>{3}), 3);
  // Absurd penalties stay numbers.
  EXPECT_EQ(draw({.repetition_penalty = 1e-300}, kLogits, 0, std::vector<std::int32_t>{3}), 3);
  EXPECT_NE(draw({.repetition_penalty = 1e300}, kLogits, 0, std::vector<std::int32_t>{1}), 1);
}

TEST(Sampler, TemperatureZeroTakesTheMostLikelyAndTheSmallestId) {
  const std::vector<float> ties = {1, 3, 2, 3, 3};
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(draw({.temperature = 0, .seed = seed}, ties, seed), 1);
    EXPECT_EQ(draw({.temperature = 1e-6, .seed = seed}, ties, seed), 1);
  }
  EXPECT_EQ(draw({.temperature = 0.01}, kLogits, 0), 1);
}

TEST(Sampler, DependsOnSeedStreamAndIndexAlone) {
  const std::vector<float> logits = random_logits(1000, 5);
  const auto sequence = [&](std::uint64_t seed, std::uint64_t stream) {
    Sampler sampler({.seed = seed}, stream);
    std::vector<std::int32_t> out;
    for (std::uint64_t i = 0; i < 32; ++i) out.push_back(sampler.sample(logits, {}, i, -1)->chosen.token);
    return out;
  };
  const auto first = sequence(1, 0);
  EXPECT_EQ(first, sequence(1, 0));
  EXPECT_NE(first, sequence(2, 0));
  EXPECT_NE(first, sequence(1, 1));
  // A token does not need those before it.
  Sampler sampler({.seed = 1}, 0);
  for (std::uint64_t i = 32; i > 0; --i) EXPECT_EQ(sampler.sample(logits, {}, i - 1, -1)->chosen.token, first[i - 1]);
}

TEST(Sampler, NeverDrawsTheImpossible) {
  std::vector<float> logits(100, -kInfinity);
  logits[40] = -5;
  logits[60] = -6;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::int32_t token = draw({.temperature = 5, .top_k = 50, .top_p = 0.999}, logits, i);
    EXPECT_TRUE(token == 40 || token == 60) << token;
  }
}

TEST(Sampler, RefusesLogitsThatAreNotNumbers) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    std::vector<float> logits = kLogits;
    logits[4] = bad;
    for (const double temperature : {0.0, 1.0}) {
      const Result<Sample> sample = Sampler({.temperature = temperature}, 0).sample(logits, {}, 2, 0);
      ASSERT_FALSE(sample.ok());
      EXPECT_EQ(sample.error().message, "the model's logits for token 3 of the output are not finite numbers");
    }
  }
  EXPECT_FALSE(Sampler({}, 0).sample(std::vector<float>(4, -kInfinity), {}, 0, -1).ok());
  EXPECT_FALSE(Sampler({}, 0).sample({}, {}, 0, -1).ok());
}

TEST(Sampler, LogprobsAreTheModelsOwn) {
  const std::vector<float> logits = random_logits(500, 9);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  // Penalties, temperature and cuts change the choice, not what is reported of it.
  const SamplingParams params = {.temperature = 3, .top_k = 40, .min_p = 0.01, .repetition_penalty = 2};
  const std::vector<std::int32_t> history = {0, 1, 2, 3};
  for (std::uint64_t i = 0; i < 50; ++i) {
    const Sample sample = Sampler(params, 0).sample(logits, history, i, 5).value();
    const auto check = [&](const TokenLogprob& t) {
      const float logit = logits[static_cast<std::size_t>(t.token)];
      EXPECT_NEAR(t.logprob, static_cast<double>(logit) - std::log(sum), 1e-6);
      EXPECT_EQ(t.rank, 1 + std::count_if(logits.begin(), logits.end(), [&](float other) { return other > logit; }));
    };
    check(sample.chosen);
    ASSERT_EQ(sample.top.size(), 5u);
    for (std::size_t place = 0; place < 5; ++place) {
      check(sample.top[place]);
      EXPECT_EQ(sample.top[place].rank, static_cast<std::int32_t>(place + 1));
    }
  }
  EXPECT_TRUE(Sampler(params, 0).sample(logits, history, 0, -1)->top.empty());
  EXPECT_TRUE(Sampler(params, 0).sample(logits, history, 0, 0)->top.empty());
  EXPECT_EQ(Sampler(params, 0).sample(logits, history, 0, 1000)->top.size(), 500u);
}

TEST(Sampler, TiesShareTheirRank) {
  const std::vector<float> ties = {1, 3, 2, 3, 0};
  const auto top = most_likely(ties, 4, log_sum_exp(ties));
  ASSERT_EQ(top.size(), 4u);
  EXPECT_EQ(top[0].token, 1);
  EXPECT_EQ(top[1].token, 3);
  EXPECT_EQ(top[0].rank, 1);
  EXPECT_EQ(top[1].rank, 1);
  EXPECT_EQ(top[2].rank, 3);
  EXPECT_EQ(rank_of(ties, 3), 1);
  EXPECT_EQ(rank_of(ties, 2), 3);
}

TEST(Sampler, LogSumExpOfLargeLogits) {
  EXPECT_NEAR(log_sum_exp(std::vector<float>{1e30f, 1e30f}), 1e30f, 1e15);
  EXPECT_NEAR(log_sum_exp(std::vector<float>{-1000, -1000}), -1000 + std::log(2.0), 1e-9);
}

TEST(Sampler, FrequencyAndPresencePenaltyOverTheOutput) {
  // Prompt 1, 1, 6; output 3, 9, 3, 3.
  const std::vector<std::int32_t> history = {1, 1, 6, 3, 9, 3, 3};
  std::vector<float> logits = kLogits;
  logits[3] -= 3 * 0.5f;
  logits[9] -= 0.5f;
  const auto token_after = [&](const SamplingParams& params) {
    // The index is the length of the output.
    Sampler sampler(params, 0);
    std::map<std::int32_t, std::uint64_t> out;
    for (std::uint64_t seed = 0; seed < 30'000; ++seed) {
      SamplingParams own = params;
      own.seed = seed;
      ++out[Sampler(own, 0).sample(kLogits, history, 4, -1)->chosen.token];
    }
    return out;
  };
  const auto expect = [&](const SamplingParams& params, std::span<const float> penalized) {
    const ChiSquare chi = chi_square(token_after(params), softmax(penalized, 1), 30'000);
    EXPECT_LE(chi.statistic, chi_square_limit(chi.freedom));
  };
  expect({.frequency_penalty = 0.5}, logits);
  logits[3] -= 1;
  logits[9] -= 1;
  expect({.frequency_penalty = 0.5, .presence_penalty = 1}, logits);
  // Of the prompt it says nothing.
  EXPECT_EQ(draw({.temperature = 0, .presence_penalty = 2}, kLogits, 0, history), 1);
  EXPECT_EQ(draw({.temperature = 0, .presence_penalty = -2}, kLogits, 4, history), 3);
}

TEST(Sampler, LogitBiasAndMinTokens) {
  EXPECT_EQ(draw({.temperature = 0, .logit_bias = {{5, 6.0}}}, kLogits, 0), 5);
  EXPECT_EQ(draw({.temperature = 0, .logit_bias = {{1, -100.0}}}, kLogits, 0), 6);
  // A bias comes before the penalties.
  EXPECT_EQ(draw({.temperature = 0, .repetition_penalty = 4, .logit_bias = {{5, 6.0}}}, kLogits, 0,
                 std::vector<std::int32_t>{5}),
            1);
  const std::vector<std::int32_t> ends = {1};
  const auto token = [&](const SamplingParams& params, std::uint64_t index) {
    return Sampler(params, 0, ends).sample(kLogits, {}, index, -1)->chosen.token;
  };
  const SamplingParams params = {.temperature = 0, .min_tokens = 2, .stop_token_ids = {6}};
  EXPECT_EQ(token(params, 0), 3);
  EXPECT_EQ(token(params, 1), 3);
  EXPECT_EQ(token(params, 2), 1);
  // A bias does not bring back what may not come.
  EXPECT_NE(token({.temperature = 0, .logit_bias = {{1, 50.0}}, .min_tokens = 1}, 0), 1);
  // Nothing is left.
  Sampler none({.min_tokens = 1, .stop_token_ids = {0, 1}}, 0);
  const Result<Sample> sample = none.sample(std::vector<float>{1, 2}, {}, 0, -1);
  ASSERT_FALSE(sample.ok());
  EXPECT_EQ(sample.error().message,
            "no token is left for place 1 of the output: min_tokens rules out all that the model can say");
}

TEST(Sampler, ProcessedLogprobsAreOfTheDistributionDrawnFrom) {
  const std::vector<float> logits = random_logits(300, 4);
  const std::vector<std::int32_t> history = {3, 4, 4, 5};
  const SamplingParams params = {
      .temperature = 0.6, .top_k = 20, .top_p = 0.9, .repetition_penalty = 1.3, .frequency_penalty = 0.2};
  // How often tokens come is what is reported.
  std::map<std::int32_t, double> probabilities;
  Sampler sampler(params, 0);
  std::map<std::int32_t, std::uint64_t> drawn;
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    SamplingParams own = params;
    own.seed = seed;
    const Sample sample = Sampler(own, 0).sample(logits, history, 2, 300, LogprobsMode::kProcessed).value();
    ++drawn[sample.chosen.token];
    double sum = 0;
    for (const TokenLogprob& t : sample.top) {
      probabilities[t.token] = std::exp(static_cast<double>(t.logprob));
      sum += probabilities[t.token];
      EXPECT_TRUE(t.token != sample.chosen.token || t == sample.chosen);
    }
    ASSERT_NEAR(sum, 1, 1e-6);
    if (seed > 200) continue;
    for (std::size_t i = 1; i < sample.top.size(); ++i) EXPECT_GE(sample.top[i - 1].logprob, sample.top[i].logprob);
    EXPECT_EQ(sample.top.front().rank, 1);
  }
  EXPECT_LT(probabilities.size(), 21u);
  std::erase_if(drawn, [&](const auto& entry) { return probabilities.contains(entry.first); });
  EXPECT_TRUE(drawn.empty()) << "a token was drawn that is not reported";
}

TEST(Sampler, ProcessedLogprobsAtTemperatureZero) {
  const std::vector<std::int32_t> history = {1};
  std::vector<float> penalized = kLogits;
  penalized[1] /= 2;
  double sum = 0;
  for (const float logit : penalized) sum += std::exp(static_cast<double>(logit));
  const SamplingParams params = {.temperature = 0, .top_k = 1, .repetition_penalty = 2};
  const Sample sample = Sampler(params, 0).sample(kLogits, history, 0, 3, LogprobsMode::kProcessed).value();
  EXPECT_EQ(sample.chosen.token, 6);
  EXPECT_NEAR(sample.chosen.logprob, 2.5 - std::log(sum), 1e-6);
  ASSERT_EQ(sample.top.size(), 3u);
  EXPECT_EQ(sample.top[0], sample.chosen);
  // Nothing changed: raw and processed are the same.
  const auto raw = [](const SamplingParams& p) { return reports_raw(p, LogprobsMode::kProcessed); };
  for (const double temperature : {0.0, 1.0}) EXPECT_TRUE(raw({.temperature = temperature}));
  EXPECT_TRUE(raw({.temperature = 0, .top_k = 5, .top_p = 0.5}));
  for (const SamplingParams& p : std::vector<SamplingParams>{{.temperature = 0.9},
                                                             {.top_k = 5},
                                                             {.top_p = 0.5},
                                                             {.min_p = 0.1},
                                                             {.temperature = 0, .repetition_penalty = 1.1},
                                                             {.frequency_penalty = 0.1},
                                                             {.presence_penalty = 0.1},
                                                             {.logit_bias = {{1, 1.0}}},
                                                             {.min_tokens = 1}}) {
    EXPECT_FALSE(raw(p));
    // Before the cuts, cuts change nothing.
    const bool only_cut = p.top_k > 0 || p.top_p < 1 || p.min_p > 0;
    EXPECT_EQ(reports_raw(p, LogprobsMode::kTempered), only_cut);
    EXPECT_TRUE(reports_raw(p, LogprobsMode::kRaw));
  }
}

// The distribution after the temperature and before the cuts: of every token, also of those that cannot be drawn.
TEST(Sampler, TemperedLogprobs) {
  const std::vector<std::int32_t> history = {1};
  for (const double temperature : {0.5, 1.0, 1.7}) {
    std::vector<double> scores(kLogits.begin(), kLogits.end());
    scores[1] /= 2;                                        // the repetition penalty
    scores[4] = -std::numeric_limits<double>::infinity();  // an end token before min_tokens
    double sum = 0;
    for (const double score : scores) sum += std::exp(score / temperature);
    const SamplingParams params = {
        .temperature = temperature, .top_k = 2, .top_p = 0.6, .repetition_penalty = 2, .min_tokens = 3, .seed = 5};
    Sampler sampler(params, 0, std::vector<std::int32_t>{4});
    const int all = static_cast<int>(kLogits.size());
    const Sample sample = sampler.sample(kLogits, history, 0, all, LogprobsMode::kTempered).value();
    ASSERT_EQ(sample.top.size(), kLogits.size() - 1) << "all but the masked one";
    double total = 0;
    for (const TokenLogprob& entry : sample.top) {
      const double score = scores[static_cast<std::size_t>(entry.token)];
      EXPECT_NEAR(entry.logprob, score / temperature - std::log(sum), 1e-5);
      total += std::exp(entry.logprob);
      if (entry.token == sample.chosen.token) {
        EXPECT_EQ(entry, sample.chosen);
      }
    }
    EXPECT_NEAR(total, 1, 1e-5);
    // The same token whatever is reported, and after the cuts it is more likely.
    const Sample cut = Sampler(params, 0, std::vector<std::int32_t>{4})
                           .sample(kLogits, history, 0, all, LogprobsMode::kProcessed)
                           .value();
    EXPECT_EQ(cut.chosen.token, sample.chosen.token);
    EXPECT_GT(cut.chosen.logprob, sample.chosen.logprob);
  }
}

TEST(Sampler, ParametersOutOfRange) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<SamplingParams, const char*>> rows = {
      {{.temperature = -1}, "temperature -1: must be 0 or more"},
      {{.temperature = nan}, "temperature nan: must be 0 or more"},
      {{.top_k = -2}, "top_k -2: must be 1 or more, or 0 for all"},
      {{.top_p = 0}, "top_p 0: must be above 0 and at most 1"},
      {{.top_p = 1.5}, "top_p 1.5: must be above 0 and at most 1"},
      {{.min_p = -0.1}, "min_p -0.1: must be from 0 to 1"},
      {{.min_p = nan}, "min_p nan: must be from 0 to 1"},
      {{.repetition_penalty = 0}, "repetition_penalty 0: must be above 0"},
      {{.frequency_penalty = 2.5}, "frequency_penalty 2.5: must be from -2 to 2"},
      {{.presence_penalty = nan}, "presence_penalty nan: must be from -2 to 2"},
      {{.logit_bias = {{7, -101.0}}}, "logit_bias -101 of token 7: must be from -100 to 100"},
  };
  for (const auto& [params, message] : rows) {
    const Status status = check_sampling(params);
    ASSERT_FALSE(status.ok()) << message;
    EXPECT_EQ(status.error().message, message);
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
  }
  EXPECT_TRUE(check_sampling({}).ok());
}

TEST(ExpNonpositive, IsTheExponentialFunction) {
  for (int i = 0; i <= 708'000; ++i) {
    const double x = -i / 1000.0, want = std::exp(x);
    ASSERT_NEAR(exp_nonpositive(x), want, want * 0x1p-51) << x;
  }
  EXPECT_EQ(exp_nonpositive(0.0), 1.0);
  EXPECT_EQ(exp_nonpositive(-0.0), 1.0);
  EXPECT_EQ(exp_nonpositive(-709.0), 0.0);
  EXPECT_EQ(exp_nonpositive(-1e300), 0.0);
  EXPECT_EQ(exp_nonpositive(-std::numeric_limits<double>::infinity()), 0.0);
}

TEST(ExpNonpositive, ManyHaveTheBitsOfOne) {
  test::Random random(1);
  std::vector<double> many(1000);
  for (double& x : many) x = -800 * random.uniform() * random.uniform();
  const std::vector<double> x = many;
  exp_nonpositive(many);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(many[i], exp_nonpositive(x[i])) << x[i];
}

}  // namespace
}  // namespace octavo::engine
