// Small models that somebody trained (../shared/data/models), against the logits and greedy continuations that
// llama2.c gives for them. Skipped where the data is not there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>
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

const std::filesystem::path kData = OCTAVO_SOURCE_DIR "/../shared/data";
// llama2.c sums in FP32 in another order, and its logits are printed to six places.
constexpr double kLogitBound = 1e-3;

struct Path {
  std::vector<std::int32_t> prompt, greedy;
  std::vector<std::pair<std::int32_t, double>> top8;  // after the prompt
  double min_gap = 0;                                 // of the two most likely tokens along the path
};

std::vector<Path> read_paths(const std::string& name) {
  std::vector<Path> out;
  std::istringstream lines(read_file(kData / "golden" / (name + ".jsonl")));
  for (std::string line; std::getline(lines, line);) {
    const auto json = parse_json(line, name);
    if (!json.ok()) {
      ADD_FAILURE() << json.error().message;
      return {};
    }
    Path path;
    path.prompt = json->at("prompt_ids").get<std::vector<std::int32_t>>();
    path.greedy = json->at("greedy_ids").get<std::vector<std::int32_t>>();
    for (const Json& entry : json->at("top8_logits")) path.top8.emplace_back(entry[0], entry[1]);
    path.min_gap = json->at("min_top1_gap").get<double>();
    out.push_back(std::move(path));
  }
  return out;
}

class RealModelTest : public testing::TestWithParam<std::tuple<std::string, Isa, Compute>> {};

TEST_P(RealModelTest, FollowsTheGreedyPath) {
  const auto& [name, isa, compute] = GetParam();
  const std::filesystem::path folder = kData / "models" / (name + (compute == Compute::kF32 ? "-f32" : "-bf16"));
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto model = RunModel::open(folder, {.isa = isa,
                                             .threads = 2,
                                             .compute = compute,
                                             .kv = compute == Compute::kF32 ? KvDType::kF32 : KvDType::kBF16,
                                             .max_tokens = 512,
                                             .cache_blocks = 32});
  ASSERT_TRUE(model);
  const std::vector<Path> paths = read_paths(name);
  ASSERT_FALSE(paths.empty());
  for (const Path& path : paths) {
    std::vector<std::int32_t> tokens = path.prompt;
    tokens.insert(tokens.end(), path.greedy.begin(), path.greedy.end());
    const std::vector<float> logits = model->logits(tokens);
    ASSERT_FALSE(logits.empty());
    const auto row = [&](std::size_t i) { return std::span(logits).subspan(i * model->vocab(), model->vocab()); };
    if (compute == Compute::kF32) {
      for (const auto& [id, want] : path.top8) {
        EXPECT_NEAR(row(path.prompt.size() - 1)[static_cast<std::size_t>(id)], want, kLogitBound);
      }
    }
    for (std::size_t i = path.prompt.size(); i < tokens.size(); ++i) {
      const auto before = row(i - 1);
      const float own = before[static_cast<std::size_t>(tokens[i])];
      EXPECT_EQ(1 + std::count_if(before.begin(), before.end(), [&](float x) { return x > own; }), 1)
          << "rank of token " << tokens[i] << " at position " << i << " (gap along the path " << path.min_gap << ")";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RealModelTest,
                         testing::Combine(testing::Values("stories260K", "babyllama105-1M"),
                                          testing::ValuesIn(machine_isas()),
                                          testing::Values(Compute::kF32, Compute::kBF16)),
                         [](const auto& param) {
                           std::string name = std::get<0>(param.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name + "_" + std::string(isa_name(std::get<1>(param.param))) + "_" +
                                  std::string(backend::compute_name(std::get<2>(param.param)));
                         });

}  // namespace
}  // namespace octavo::test
