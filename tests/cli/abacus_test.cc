// The project's own model from end to end, as a user runs it: quantized on disk and on the way in, scored, asked.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "octavo/base/json.h"
#include "octavo/base/text.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::run_octavo;

const std::string kModel = OCTAVO_SOURCE_DIR "/models/abacus";

// The first held-out stories as input of `octavo score`.
std::string stories(std::size_t count) {
  std::string lines;
  const std::string text = test::read_file(kModel + "/stories.txt");
  for (std::size_t begin = 0; count > 0 && begin < text.size(); --count) {
    const std::size_t end = std::min(text.find("\n\n", begin), text.size());
    lines += Json({{"text", text.substr(begin, end - begin)}}).dump() + "\n";
    begin = end + 2;
  }
  return lines;
}

std::string score_lines(std::vector<std::string> args, const std::string& input) {
  args.insert(args.begin(), "score");
  args.push_back("--quiet");
  const auto run = run_octavo(args, {}, input);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  return run.out;
}

double mean_nll(std::vector<std::string> args, const std::string& input) {
  args.insert(args.end(), {"--summary", "--json"});
  const auto json = parse_json(score_lines(std::move(args), input), "score");
  EXPECT_TRUE(json.ok());
  return json.ok() ? (*json)["mean_nll"].get<double>() : NAN;
}

// A scheme of `octavo quantize` and the name of the same on the way in.
struct Scheme {
  const char *offline, *online;
};
constexpr Scheme kSchemes[] = {{"tensor", "fp8"}, {"dynamic", "fp8_channel"}, {"block", "fp8_block"}};

TEST(Abacus, OnlineAndOfflineAreTheSameModel) {
  const test::TempDir dir;
  const std::string input = stories(3);
  for (const Scheme& scheme : kSchemes) {
    const std::string folder = dir / scheme.offline;
    ASSERT_EQ(run_octavo({"quantize", kModel, "-o", folder, "--scheme", scheme.offline, "-q"}).exit_code, 0);
    for (const char* activations : {"bf16", "fp8"}) {
      const std::string offline = score_lines({folder, "--activations", activations}, input);
      const std::string online =
          score_lines({kModel, "--quantization", scheme.online, "--activations", activations}, input);
      EXPECT_FALSE(offline.empty());
      EXPECT_EQ(offline, online) << scheme.online << ", activations " << activations;
    }
  }
}

TEST(Abacus, Fp8CostsLittleAndSomething) {
  const test::TempDir dir;
  const std::string input = stories(12);
  const double bf16 = mean_nll({kModel}, input);
  EXPECT_LT(bf16, 2.0);  // trained: a uniform guess among 2048 tokens costs 7.6
  EXPECT_NEAR(mean_nll({kModel, "--compute", "f32"}, input), bf16, 0.01 * bf16);
  for (const Scheme& scheme : kSchemes) {
    const double w8a16 = mean_nll({kModel, "--quantization", scheme.online}, input);
    const double w8a8 = mean_nll({kModel, "--quantization", scheme.online, "--activations", "fp8"}, input);
    EXPECT_NE(w8a16, bf16) << scheme.online;
    EXPECT_NE(w8a8, w8a16) << scheme.online;
    EXPECT_NEAR(w8a16, bf16, 0.05 * bf16) << scheme.online;
    EXPECT_NEAR(w8a8, bf16, 0.10 * bf16) << scheme.online;
  }
  const double kv = mean_nll({kModel, "--kv-cache-dtype", "fp8"}, input);
  EXPECT_NE(kv, bf16);
  EXPECT_NEAR(kv, bf16, 0.05 * bf16);
}

// A problem it has not seen, of the kind it solves best: worked steps, then "#### answer".
TEST(Abacus, AnswersInItsForm) {
  const auto run = run_octavo({"generate", kModel, "--chat",
                               "Paul has 4 shelves with 8 roses each. How many roses are there in all?",
                               "--temperature", "0", "--max-tokens", "120", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto json = parse_json(run.out, "generate");
  ASSERT_TRUE(json.ok());
  const Json& completion = (*json)["completions"][0];
  EXPECT_EQ(completion["finish_reason"], "stop");
  EXPECT_NE(completion["text"].get<std::string>().find("#### "), std::string::npos) << completion.dump();
}

}  // namespace
}  // namespace octavo
