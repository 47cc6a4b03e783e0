// Trained models of ../shared/data through the whole engine: tokenizer, decoder, score and generate. Skipped where the
// data is not there.
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "octavo/engine/generate.h"
#include "octavo/engine/score.h"
#include "tests/engine/open_tiny.h"

namespace octavo::engine {
namespace {

using Tokens = std::vector<std::int32_t>;
const std::filesystem::path kData = OCTAVO_SOURCE_DIR "/../shared/data";

struct Setting {
  const char* folder;
  backend::Compute compute;
};
const Setting kStories[] = {{"stories260K-f32", backend::Compute::kF32}, {"stories260K-bf16", backend::Compute::kBF16}};
const Setting kAll[] = {{"stories260K-f32", backend::Compute::kF32},
                        {"stories260K-bf16", backend::Compute::kBF16},
                        {"babyllama105-1M-f32", backend::Compute::kF32},
                        {"babyllama105-1M-bf16", backend::Compute::kBF16}};

Runner open(const Setting& setting) {
  RunnerOptions options;
  options.compute = setting.compute;
  return test::open_model(kData / "models" / setting.folder, options);
}

TEST(RealModels, PerplexityOfTinyStories) {
  const auto texts_path = kData / "text/tinystories/tinystories_100.json";
  if (!std::filesystem::exists(texts_path)) GTEST_SKIP() << texts_path << " is not there";
  const Json texts = parse_json(test::read_file(texts_path), "texts").value();
  ASSERT_EQ(texts.size(), 100u);
  for (const Setting& setting : kStories) {
    Runner runner = open(setting);
    std::vector<Tokens> sequences;
    for (const Json& text : texts) {
      sequences.push_back(runner.tokenizer->encode(text.get<std::string>(), {.add_special = true}).value());
      EXPECT_EQ(sequences.back().front(), 1);  // BOS
      if (sequences.back().size() > 512) sequences.back().resize(512);
    }
    double nll = 0;
    std::uint64_t tokens = 0;
    const Status status = score(runner, sequences, 0, [&](std::size_t, Scores scores) -> Status {
      for (std::size_t i = 1; i < scores.logprobs.size(); ++i) nll -= static_cast<double>(scores.logprobs[i]);
      tokens += scores.logprobs.size() - 1;
      return {};
    });
    ASSERT_TRUE(status.ok()) << status.error().message;
    EXPECT_NEAR(std::exp(nll / static_cast<double>(tokens)), 5.28, 0.005) << setting.folder;
  }
}

TEST(RealModels, GreedyPathsOfLlama2c) {
  if (!std::filesystem::exists(kData / "golden")) GTEST_SKIP() << kData << " is not there";
  for (const Setting& setting : kAll) {
    SCOPED_TRACE(setting.folder);
    const std::string name = setting.folder;
    Runner runner = open(setting);
    std::istringstream lines(test::read_file(kData / "golden" / (name.substr(0, name.rfind('-')) + ".jsonl")));
    std::size_t count = 0;
    for (std::string line; std::getline(lines, line); ++count) {
      const Json golden = parse_json(line, "golden").value();
      const auto prompt = golden["prompt_ids"].get<Tokens>();
      const auto greedy = golden["greedy_ids"].get<Tokens>();
      EXPECT_EQ(runner.tokenizer->encode(golden["prompt"].get<std::string>(), {.add_special = true}).value(), prompt);

      Tokens tokens = prompt;
      tokens.insert(tokens.end(), greedy.begin(), greedy.end());
      const std::vector<Tokens> sequences = {tokens};
      const Status status = score(runner, sequences, 0, [&](std::size_t, Scores scores) -> Status {
        for (std::size_t i = prompt.size(); i < tokens.size(); ++i) EXPECT_EQ(scores.ranks[i], 1) << "token " << i;
        return {};
      });
      ASSERT_TRUE(status.ok()) << status.error().message;

      GenerateRequest request;
      request.prompt = prompt;
      request.sampling.temperature = 0;
      request.max_tokens = greedy.size();
      const GenerateResult result = generate(runner, request, {}).value();
      EXPECT_EQ(result.completions.at(0).tokens, greedy);
      std::string text = golden["text"].get<std::string>();  // with byte tokens by name
      for (std::size_t at = 0; (at = text.find("<0x0A>")) != text.npos;) text.replace(at, 6, "\n");
      EXPECT_EQ(result.completions[0].text, text);
    }
    EXPECT_GE(count, 4u);
  }
}

}  // namespace
}  // namespace octavo::engine
