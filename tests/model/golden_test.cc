// What the decoder says of tests/data/models, against transformers (tools/make_golden.py): FP32 within 1e-3, BF16
// within four times what transformers' own BF16 deviates from its FP32; FP8 models under both activation modes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "octavo/base/json.h"
#include "tests/model/run_model.h"
#include "tests/support/temp_dir.h"

namespace octavo::test {
namespace {

using backend::Compute;
using backend::KvDType;
using model::ActivationMode;

constexpr double kF32Bound = 1e-3;
constexpr double kBf16Factor = 4;  // times transformers' own largest deviation in the sequence
constexpr double kBf16MeanFactor = 0.9, kBf16MeanFactorW8A8 = 1.3;
constexpr double kBf16GapFactor = 2;  // where the two most likely tokens are further apart, they must not change
const std::filesystem::path kModels = OCTAVO_SOURCE_DIR "/tests/data/models";

// The expectation of one position: the next token (-1 after the last) and the most likely ones.
struct Position {
  std::int32_t next = -1;
  double next_logprob = 0;
  std::vector<std::pair<std::int32_t, double>> top;  // id, logprob
  double gap() const { return top[0].second - top[1].second; }
};

struct Sequence {
  std::vector<std::int32_t> tokens;
  std::vector<Position> positions;
  double bf16_deviation = 0;
  std::vector<double> bf16_deviations;  // a position
};

using GoldenRun = std::vector<Sequence>;

std::map<std::string, GoldenRun> read_golden(const std::string& name) {
  const auto parsed = parse_json(read_file(kModels / name / "golden.json"), name);
  if (!parsed.ok()) {
    ADD_FAILURE() << parsed.error().message;
    return {};
  }
  const Json& golden = *parsed;
  std::map<std::string, GoldenRun> out;
  for (const auto& [key, run] : golden.at("runs").items()) {
    for (std::size_t s = 0; s < golden.at("sequences").size(); ++s) {
      Sequence sequence;
      sequence.tokens = golden["sequences"][s].get<std::vector<std::int32_t>>();
      sequence.bf16_deviation = run.at("bf16_deviation")[s].get<double>();
      sequence.bf16_deviations = run.at("bf16_deviations")[s].get<std::vector<double>>();
      for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
        Position position;
        if (i + 1 < sequence.tokens.size()) {
          position.next = sequence.tokens[i + 1];
          position.next_logprob = run.at("logprobs")[s][i].get<double>();
        }
        for (const Json& entry : run.at("top")[s][i]) {
          position.top.emplace_back(entry[0].get<std::int32_t>(), entry[1].get<double>());
        }
        sequence.positions.push_back(std::move(position));
      }
      out[key].push_back(std::move(sequence));
    }
  }
  return out;
}

std::vector<std::string> model_names() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(kModels)) {
    out.push_back(entry.path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

ActivationMode mode_of(const std::string& run) { return run == "w8a8" ? ActivationMode::kFp8 : ActivationMode::kBF16; }

// Logprobs of every position of every sequence: [sequence][position][vocab].
using Logprobs = std::vector<std::vector<std::vector<double>>>;

class GoldenTest : public testing::TestWithParam<std::tuple<std::string, Isa>> {
 protected:
  std::filesystem::path folder() const { return kModels / std::get<0>(GetParam()); }
  std::map<std::string, GoldenRun> golden() const { return read_golden(std::get<0>(GetParam())); }

  std::unique_ptr<RunModel> open(Compute compute, ActivationMode activations) const {
    return RunModel::open(folder(), {.isa = std::get<1>(GetParam()),
                                     .compute = compute,
                                     .activations = activations,
                                     .kv = compute == Compute::kF32 ? KvDType::kF32 : KvDType::kBF16});
  }

  // Empty after a failure.
  static Logprobs logprobs(RunModel& model, const GoldenRun& run) {
    Logprobs out;
    for (const Sequence& sequence : run) {
      const std::vector<float> logits = model.logits(sequence.tokens);
      if (logits.empty()) return {};
      out.emplace_back();
      for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
        out.back().push_back(log_softmax(std::span(logits).subspan(i * model.vocab(), model.vocab())));
      }
    }
    return out;
  }
};

// The largest difference, over the next token and the most likely ones.
double deviation(const Position& want, const std::vector<double>& got) {
  double out = want.next < 0 ? 0 : std::abs(got[static_cast<std::size_t>(want.next)] - want.next_logprob);
  for (const auto& [id, logprob] : want.top) {
    const double difference = std::abs(got[static_cast<std::size_t>(id)] - logprob);
    out = difference <= out ? out : difference;  // a NaN stays
  }
  return out;
}

std::int32_t argmax(const std::vector<double>& values) {
  return static_cast<std::int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

// `bounds`: one a sequence. Reports the first position out of bounds of every sequence.
void expect_within(const GoldenRun& run, const Logprobs& got, const std::vector<double>& bounds,
                   const std::vector<double>& gaps, const std::string& what) {
  ASSERT_EQ(got.size(), run.size());
  for (std::size_t s = 0; s < run.size(); ++s) {
    for (std::size_t i = 0; i < run[s].positions.size(); ++i) {
      const Position& want = run[s].positions[i];
      const double difference = deviation(want, got[s][i]);
      const bool near = difference <= bounds[s];  // false for a NaN
      const bool same = want.gap() <= gaps[s] || argmax(got[s][i]) == want.top[0].first;
      EXPECT_TRUE(near && same) << what << ", sequence " << s << ", position " << i << ": logprobs differ by "
                                << difference << " (bound " << bounds[s] << "), most likely " << argmax(got[s][i])
                                << ", should be " << want.top[0].first << " (gap " << want.gap() << ")";
      if (!near || !same) break;
    }
  }
}

TEST_P(GoldenTest, F32) {
  for (const auto& [name, run] : golden()) {
    const auto model = open(Compute::kF32, mode_of(name));
    ASSERT_TRUE(model);
    const Logprobs got = logprobs(*model, run);
    // W8A8 has no wider bound although rounding to FP8 is a step: the sequences are chosen so that no code lies near
    // enough to a boundary for another order of FP32 sums to change it.
    const std::vector<double> bounds(run.size(), kF32Bound), gaps(run.size(), 2 * kF32Bound);
    expect_within(run, got, bounds, gaps, name);
  }
}

TEST_P(GoldenTest, Bf16) {
  for (const auto& [name, run] : golden()) {
    const auto model = open(Compute::kBF16, mode_of(name));
    ASSERT_TRUE(model);
    const Logprobs got = logprobs(*model, run);
    std::vector<double> bounds, gaps;
    for (const Sequence& sequence : run) {
      bounds.push_back(kBf16Factor * sequence.bf16_deviation);
      gaps.push_back(kBf16GapFactor * sequence.bf16_deviation);
    }
    expect_within(run, got, bounds, gaps, name);

    // The mean over all positions says more than the largest one. transformers rounds wherever we do, and after every
    // operation besides; in W8A8 both are mostly codes that BF16 pushed over a boundary, and differ by chance.
    const double factor = mode_of(name) == ActivationMode::kFp8 ? kBf16MeanFactorW8A8 : kBf16MeanFactor;
    double ours = 0, theirs = 0;
    for (std::size_t s = 0; s < got.size(); ++s) {
      for (std::size_t i = 0; i < got[s].size(); ++i) ours += deviation(run[s].positions[i], got[s][i]);
      theirs = std::accumulate(run[s].bf16_deviations.begin(), run[s].bf16_deviations.end(), theirs);
    }
    EXPECT_LE(ours, factor * theirs) << name << ": mean deviation from FP32";
  }
}

// Rounding the activations brings the run nearer to the golden that rounds them, or it was not that rounding; in BF16
// too, because an activation is rounded once. Where no linear's inputs are to be rounded, asking for it changes
// nothing.
TEST_P(GoldenTest, ActivationRoundingIsTheSchemes) {
  const auto runs = golden();
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    const auto plain = open(compute, ActivationMode::kBF16), asked = open(compute, ActivationMode::kFp8);
    ASSERT_TRUE(plain && asked);
    const auto found = runs.find("w8a8");
    if (found == runs.end()) {
      const std::vector<std::int32_t>& tokens = runs.begin()->second[0].tokens;
      EXPECT_EQ(plain->logits(tokens), asked->logits(tokens));
      continue;
    }
    const GoldenRun& run = found->second;
    const Logprobs without = logprobs(*plain, run), with = logprobs(*asked, run);
    ASSERT_EQ(without.size(), run.size());
    ASSERT_EQ(with.size(), run.size());
    double far = 0, near = 0;
    for (std::size_t s = 0; s < run.size(); ++s) {
      for (std::size_t i = 0; i + 1 < run[s].positions.size(); ++i) {
        const Position& want = run[s].positions[i];
        const auto next = static_cast<std::size_t>(want.next);
        far += std::abs(without[s][i][next] - want.next_logprob);
        near += std::abs(with[s][i][next] - want.next_logprob);
      }
    }
    EXPECT_LT(near, far) << backend::compute_name(compute);
  }
}

// token_logprobs() says what logits() says.
TEST_P(GoldenTest, TokenLogprobsAndRanksAgreeWithLogits) {
  const auto runs = golden();
  const Sequence& sequence = runs.begin()->second[0];
  const auto model = open(Compute::kF32, ActivationMode::kBF16);
  ASSERT_TRUE(model);
  const std::vector<float> logits = model->logits(sequence.tokens);
  ASSERT_FALSE(logits.empty());
  std::vector<std::int32_t> targets(sequence.tokens.begin() + 1, sequence.tokens.end());
  targets.push_back(sequence.positions.back().top[0].first);
  std::vector<float> got(targets.size());
  std::vector<std::int32_t> ranks(targets.size());
  const Status done = model->decoder().token_logprobs(targets, got, ranks);
  ASSERT_TRUE(done.ok()) << done.error().message;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const auto row = std::span(logits).subspan(i * model->vocab(), model->vocab());
    const float own = row[static_cast<std::size_t>(targets[i])];
    EXPECT_NEAR(got[i], log_softmax(row)[static_cast<std::size_t>(targets[i])], 1e-4) << "position " << i;
    EXPECT_EQ(ranks[i], 1 + std::count_if(row.begin(), row.end(), [&](float x) { return x > own; })) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest,
                         testing::Combine(testing::ValuesIn(model_names()), testing::ValuesIn(machine_isas())),
                         [](const auto& param) {
                           return std::get<0>(param.param) + "_" + std::string(isa_name(std::get<1>(param.param)));
                         });

}  // namespace
}  // namespace octavo::test
