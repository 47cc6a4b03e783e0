// Generation: the same tokens and logprobs whatever the chunk, n and the cache; where and how an output ends.
#include "octavo/engine/generate.h"

#include "octavo/base/text.h"
#include "octavo/engine/score.h"
#include "tests/engine/open_tiny.h"
#include "tests/support/random_tensor.h"

namespace octavo::engine {
namespace {

using test::random_tokens;
using Tokens = std::vector<std::int32_t>;

GenerateRequest request_for(Tokens prompt, std::uint64_t max_tokens = 24) {
  GenerateRequest out;
  out.prompt = std::move(prompt);
  out.max_tokens = max_tokens;
  out.ignore_eos = true;
  return out;
}

// The text of ids, without those that the model has and the tokenizer has not.
std::string decode(const Runner& runner, Tokens tokens) {
  std::erase_if(tokens, [](std::int32_t token) { return token >= test::TinyTokenizer::kSize; });
  return runner.tokenizer->decode(tokens, /*skip_special=*/true).value();
}

GenerateResult run(Runner& runner, const GenerateRequest& request, const TextSink& sink = {}) {
  Result<GenerateResult> result = generate(runner, request, sink);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? std::move(*result) : GenerateResult();
}

std::string error_of(Runner& runner, const GenerateRequest& request) {
  const Result<GenerateResult> result = generate(runner, request, {});
  return result.ok() ? "no failure" : result.error().message;
}

Runner open(std::uint64_t sequences, std::uint64_t chunk = kDefaultChunk) {
  RunnerOptions options;
  options.sequences = sequences;
  options.chunk = chunk;
  return test::open_tiny(options);
}

TEST(Generate, LogprobsAreThoseOfScore) {
  Runner runner = open(3);
  for (const double temperature : {0.0, 1.0}) {
    GenerateRequest request = request_for(random_tokens(37));
    request.sampling.temperature = temperature;
    request.logprobs = 4;
    request.n = 3;
    const GenerateResult result = run(runner, request);
    ASSERT_EQ(result.completions.size(), 3u);
    for (const Completion& c : result.completions) {
      Tokens tokens = request.prompt;
      tokens.insert(tokens.end(), c.tokens.begin(), c.tokens.end());
      ASSERT_EQ(c.samples.size(), c.tokens.size());
      const std::vector<Tokens> sequences = {tokens};
      const Status status = score(runner, sequences, 4, [&](std::size_t, Scores scores) -> Status {
        for (std::size_t i = 0; i < c.tokens.size(); ++i) {
          const std::size_t at = request.prompt.size() + i;
          EXPECT_EQ(c.samples[i].chosen.token, c.tokens[i]);
          EXPECT_EQ(c.samples[i].chosen.logprob, scores.logprobs[at]) << i;
          EXPECT_EQ(c.samples[i].chosen.rank, scores.ranks[at]) << i;
          EXPECT_EQ(c.samples[i].top, scores.top[at]) << i;
          EXPECT_TRUE(temperature != 0 || scores.ranks[at] == 1) << i;
        }
        return {};
      });
      EXPECT_TRUE(status.ok());
    }
  }
}

TEST(Generate, ChunkNAndPromptLengthDoNotMatter) {
  // Prompts that end before, at and behind the border of a cache block.
  for (const std::size_t length : {1u, 15u, 16u, 17u, 32u, 50u}) {
    SCOPED_TRACE(length);
    GenerateRequest request = request_for(random_tokens(length, length));
    request.sampling.seed = 5;
    Runner one = open(1);
    std::vector<Tokens> expected;
    {
      // Stream i of the seed, alone: what continuation i of n must be.
      Runner many = open(7);
      request.n = 7;
      for (const Completion& c : run(many, request).completions) expected.push_back(c.tokens);
      ASSERT_EQ(expected.size(), 7u);
      request.n = 1;
    }
    EXPECT_EQ(run(one, request).completions.at(0).tokens, expected[0]);
    EXPECT_NE(expected[1], expected[0]);
    for (const std::uint64_t n : {1u, 2u, 4u, 7u}) {
      for (const std::uint64_t chunk : {1u, 5u, 64u}) {
        Runner runner = open(n, chunk);
        request.n = n;
        const GenerateResult result = run(runner, request);
        ASSERT_EQ(result.completions.size(), n);
        for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(result.completions[i].tokens, expected[i]) << n << " " << chunk;
      }
    }
  }
}

TEST(Generate, SharedBlocksAreCountedOnce) {
  EXPECT_EQ(cache_tokens(40, 60, 1), 64u);
  EXPECT_EQ(cache_tokens(40, 60, 3), 32u + 3 * 32u);
  RunnerOptions options;
  options.sequences = 3;
  options.context = 60;
  options.cache_tokens = cache_tokens(40, 60, 3);
  Runner runner = test::open_tiny(options);
  GenerateRequest request = request_for(random_tokens(40), 20);
  request.n = 3;
  EXPECT_EQ(run(runner, request).completions.at(2).tokens.size(), 20u);
  request.prompt = random_tokens(31);  // one full block fewer is shared
  request.max_tokens = 29;
  EXPECT_EQ(error_of(runner, request), "3 continuations of 29 tokens need a cache of 160 tokens, but it has 128");
}

TEST(Generate, ReusesThePrefixAndGetsTheSame) {
  Runner runner = open(1), fresh = open(1);
  GenerateRequest request = request_for(random_tokens(40));
  request.logprobs = 2;
  const GenerateResult first = run(runner, request);
  EXPECT_EQ(first.reused_tokens, 0u);
  const auto expect_like_fresh = [&](const GenerateResult& result) {
    fresh.cached.clear();
    const GenerateResult other = run(fresh, request);
    EXPECT_EQ(other.reused_tokens, 0u);
    EXPECT_EQ(result.completions.at(0).tokens, other.completions.at(0).tokens);
    for (std::size_t i = 0; i < other.completions.at(0).samples.size(); ++i) {
      EXPECT_EQ(result.completions[0].samples[i].chosen, other.completions[0].samples[i].chosen);
    }
  };
  // The same again: all but the last token of the prompt is there.
  const GenerateResult again = run(runner, request);
  EXPECT_EQ(again.reused_tokens, 39u);
  expect_like_fresh(again);
  // A next turn: prompt, answer (its last token was never fed), and more.
  const Tokens& answer = again.completions[0].tokens;
  request.prompt.insert(request.prompt.end(), answer.begin(), answer.end());
  const Tokens more = random_tokens(9, 3);
  request.prompt.insert(request.prompt.end(), more.begin(), more.end());
  const GenerateResult next = run(runner, request);
  EXPECT_EQ(next.reused_tokens, 40u + answer.size() - 1);
  expect_like_fresh(next);
  // A change in the middle.
  request.prompt[20] = request.prompt[20] == 7 ? 8 : 7;
  const GenerateResult changed = run(runner, request);
  EXPECT_EQ(changed.reused_tokens, 20u);
  expect_like_fresh(changed);
  // A shorter prompt.
  request.prompt.resize(30);
  const GenerateResult shorter = run(runner, request);
  EXPECT_EQ(shorter.reused_tokens, 29u);
  expect_like_fresh(shorter);
  // What score leaves in the cache is not taken for it.
  const std::vector<Tokens> sequences = {random_tokens(50, 9)};
  ASSERT_TRUE(score(runner, sequences, 0, [](std::size_t, Scores) { return Status(); }).ok());
  const GenerateResult after = run(runner, request);
  EXPECT_EQ(after.reused_tokens, 0u);
  expect_like_fresh(after);
}

TEST(Generate, ReuseWithManyContinuations) {
  Runner runner = open(4);
  GenerateRequest request = request_for(random_tokens(40));
  const Tokens expected = run(runner, request).completions.at(0).tokens;
  for (const std::uint64_t n : {4u, 1u, 4u, 4u, 1u}) {
    request.n = n;
    EXPECT_EQ(run(runner, request).completions.at(0).tokens, expected);
  }
}

TEST(Generate, StopTexts) {
  Runner runner = open(2);
  GenerateRequest request = request_for(random_tokens(20), 60);
  const Completion whole = run(runner, request).completions.at(0);
  EXPECT_EQ(whole.finish, FinishReason::kLength);
  ASSERT_GT(whole.text.size(), 30u);
  // From the middle of the text, several characters: with a token a byte it crosses token borders.
  std::size_t begin = 12;
  while ((static_cast<unsigned char>(whole.text[begin]) & 0xC0) == 0x80) ++begin;
  std::size_t end = begin + 5;
  while (end < whole.text.size() && (static_cast<unsigned char>(whole.text[end]) & 0xC0) == 0x80) ++end;
  const std::string stop = whole.text.substr(begin, end - begin);
  request.stop = {"never there", stop};
  std::string streamed;
  const Completion stopped =
      run(runner, request, [&](std::uint64_t, std::string_view piece) { streamed += piece; }).completions.at(0);
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(streamed, stopped.text);
  EXPECT_LT(stopped.tokens.size(), whole.tokens.size());
  // The tokens are those up to the stop text, its own among them.
  EXPECT_TRUE(std::equal(stopped.tokens.begin(), stopped.tokens.end(), whole.tokens.begin()));
}

TEST(Generate, StreamedTextIsWholeCharacters) {
  // A random model writes random bytes: broken characters at every turn.
  Runner runner = open(3);
  GenerateRequest request = request_for(random_tokens(10), 120);
  request.sampling.temperature = 2;
  request.n = 3;
  std::vector<std::string> streamed(3);
  const GenerateResult result = run(runner, request, [&](std::uint64_t index, std::string_view piece) {
    EXPECT_TRUE(is_valid_utf8(piece));
    EXPECT_FALSE(piece.empty());
    streamed.at(index) += piece;
  });
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(result.completions.at(i).text, streamed[i]);
    EXPECT_EQ(result.completions[i].text, decode(runner, result.completions[i].tokens));
  }
}

TEST(Generate, EndTokens) {
  const test::TempDir dir;
  test::CheckpointBuilder model = test::tiny_chat_model();
  Runner plain = test::open_model(model.write(dir / "plain"));
  EXPECT_EQ(plain.end_tokens, (Tokens{test::TinyTokenizer::kEnd}));
  GenerateRequest request = request_for(random_tokens(20), 30);
  request.sampling.temperature = 0;
  const Tokens whole = run(plain, request).completions.at(0).tokens;
  // A token of the greedy path that has not been there before becomes an end token.
  std::size_t at = 5;
  while (std::find(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(at), whole[at]) !=
         whole.begin() + static_cast<std::ptrdiff_t>(at)) {
    ++at;
  }
  model.config()["eos_token_id"] = {whole[at], 300};
  Runner ended = test::open_model(model.write(dir / "ended"));
  request.ignore_eos = false;
  const Completion c = run(ended, request).completions.at(0);
  EXPECT_EQ(c.finish, FinishReason::kStop);
  EXPECT_EQ(c.tokens, Tokens(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(at + 1)));
  // The end token is a token of the output and no part of its text.
  const Tokens before(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(at));
  EXPECT_EQ(c.text, decode(ended, before));
  request.ignore_eos = true;
  EXPECT_EQ(run(ended, request).completions.at(0).tokens, whole);
  // generation_config.json overrides config.json.
  model.add_file("generation_config.json", Json({{"eos_token_id", 301}}).dump());
  Runner overridden = test::open_model(model.write(dir / "overridden"));
  EXPECT_EQ(overridden.end_tokens, (Tokens{test::TinyTokenizer::kEnd, 301}));
}

TEST(Generate, LengthLimits) {
  RunnerOptions options;
  options.context = 50;
  Runner runner = test::open_tiny(options);
  GenerateRequest request = request_for(random_tokens(40), 1);
  EXPECT_EQ(run(runner, request).completions.at(0).tokens.size(), 1u);
  request.max_tokens = 7;
  EXPECT_EQ(run(runner, request).completions.at(0).tokens.size(), 7u);
  for (const std::uint64_t all : {10u, 11u, 1000u, 0u}) {
    request.max_tokens = all;
    const Completion c = run(runner, request).completions.at(0);
    EXPECT_EQ(c.tokens.size(), 10u);
    EXPECT_EQ(c.finish, FinishReason::kLength);
  }
  request.prompt = random_tokens(49);
  EXPECT_EQ(run(runner, request).completions.at(0).tokens.size(), 1u);
  request.prompt = random_tokens(50);
  EXPECT_EQ(error_of(runner, request), "the prompt has 50 tokens, which leaves no room in the context of 50");
}

TEST(Generate, Cancelled) {
  Runner runner = open(1, 8);
  GenerateRequest request = request_for(random_tokens(40), 100);
  int steps = 0;
  request.cancelled = [&] { return ++steps > 12; };
  const Completion c = run(runner, request).completions.at(0);
  EXPECT_EQ(c.finish, FinishReason::kAbort);
  EXPECT_GT(c.tokens.size(), 0u);
  EXPECT_LT(c.tokens.size(), 20u);
  // Within the prompt: no token at all, and what was computed is still good.
  runner.cached.clear();
  steps = 0;
  request.cancelled = [&] { return ++steps > 2; };
  EXPECT_TRUE(run(runner, request).completions.at(0).tokens.empty());
  request.cancelled = {};
  const GenerateResult after = run(runner, request);
  EXPECT_EQ(after.reused_tokens, 16u);
  Runner fresh = open(1, 8);
  EXPECT_EQ(after.completions.at(0).tokens, run(fresh, request).completions.at(0).tokens);
}

TEST(Generate, Failures) {
  Runner runner = open(2);
  GenerateRequest request = request_for({});
  EXPECT_EQ(error_of(runner, request), "the prompt is empty: a model needs at least one token to go on from");
  request.prompt = {1, 320};
  EXPECT_EQ(error_of(runner, request), "token id 320 of the prompt is outside the model's vocabulary of 320");
  request.prompt = {1};
  request.n = 0;
  EXPECT_EQ(error_of(runner, request), "n 0: must be 1 or more");
  request.n = 3;
  request.max_tokens = 511;
  EXPECT_EQ(error_of(runner, request), "3 continuations of 511 tokens need a cache of 1536 tokens, but it has 1024");
  request.n = 1;
  request.stop = {""};
  EXPECT_EQ(error_of(runner, request), "stop: an empty text would end the output before it begins");
  request.stop = {};
  request.sampling.top_p = 2;
  EXPECT_EQ(error_of(runner, request), "top_p 2: must be above 0 and at most 1");
}

TEST(Runner, ContextAndDescription) {
  const test::TempDir dir;
  const auto folder = test::tiny_chat_model().write(dir / "m");
  const RunnerFolder read = read_runner_folder(folder).value();
  EXPECT_EQ(read.context(0).value(), 512u);
  EXPECT_EQ(read.context(100).value(), 100u);
  ASSERT_FALSE(read.context(513).ok());
  EXPECT_EQ(read.context(513).error().message,
            "a context of 513 tokens is asked for, but the model has 512 positions (max_position_embeddings)");
  const auto large = test::tiny_chat_model({.max_positions = 1 << 20}).write(dir / "large");
  EXPECT_EQ(read_runner_folder(large)->context(0).value(), kDefaultContext);

  RunnerOptions options;
  EXPECT_TRUE(test::open_model(folder, options)
                  .describe()
                  .starts_with("BF16; activations BF16; compute bf16; KV cache bf16; cpu "));
  options.compute = backend::Compute::kF32;
  EXPECT_TRUE(test::open_model(folder, options)
                  .describe()
                  .starts_with("BF16; activations F32; compute f32; KV cache f32; cpu "));
  options.kv_dtype = backend::KvDType::kFp8E4M3;
  EXPECT_NE(test::open_model(folder, options).describe().find("KV cache fp8_e4m3"), std::string::npos);
}

TEST(Runner, WithoutATokenizerIdsStillRun) {
  const test::TempDir dir;
  Runner runner = test::open_model(test::tiny_decoder().write(dir / "m"));
  EXPECT_FALSE(runner.tokenizer.has_value());
  const Completion c = run(runner, request_for({1, 2, 3})).completions.at(0);
  EXPECT_EQ(c.tokens.size(), 24u);
  EXPECT_EQ(c.text, "");
  GenerateRequest request = request_for({1});
  request.stop = {"x"};
  EXPECT_EQ(error_of(runner, request), "stop needs a tokenizer, and the model has none");
}

}  // namespace
}  // namespace octavo::engine
