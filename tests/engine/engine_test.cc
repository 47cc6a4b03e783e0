// The engine: a request's tokens, text and logprobs are the same bits whatever runs beside it; how outputs end.
#include "octavo/engine/score.h"
#include "tests/engine/engine_support.h"

namespace octavo::engine {
namespace {

TEST(Engine, SameAsAlone) {
  const std::unique_ptr<Engine> reference = open({.batched = 256, .seqs = 4});
  std::uint64_t preemptions = 0, hits = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    test::Random random(seed);
    const std::uint64_t seqs = 1 + random.below(10);
    // From a cache of one sequence to one that never wants.
    const std::unique_ptr<Engine> engine = open({.batched = seqs + random.below(50),
                                                 .seqs = seqs,
                                                 .context = 192,
                                                 .cache_tokens = 192 + random.below(20) * 16});
    struct Sent {
      Request request;
      Collector out;
      RequestId id = 0;
      bool aborted = false;
    };
    std::vector<Sent> sent;
    while (sent.size() < 25 || engine->has_work()) {
      if (sent.size() < 25 && random.below(3) == 0) {
        const Request request = random_request(random);
        RequestId id = 0;
        const Collector out = add(*engine, request, &id);
        sent.push_back({request, out, id});
      }
      if (!sent.empty() && random.below(60) == 0) {
        Sent& victim = sent[random.below(sent.size())];
        victim.aborted |= engine->abort(victim.id);
      }
      if (random.below(100) == 0) engine->retract_all();
      const Status status = engine->step();
      ASSERT_TRUE(status.ok()) << status.error().message;
    }
    for (std::size_t i = 0; i < sent.size(); ++i) {
      SCOPED_TRACE(i);
      ASSERT_TRUE(sent[i].out.done());
      if (sent[i].aborted) continue;
      expect_same(sent[i].out.get(), alone(*reference, sent[i].request));
      if (HasFailure()) return;
    }
    EXPECT_EQ(engine->unfinished(), 0u);
    const EngineMetrics metrics = engine->metrics();
    EXPECT_EQ(metrics.kv_blocks_used, 0u);
    preemptions += metrics.preemptions;
    hits += metrics.prefix_hits;
  }
  EXPECT_GT(preemptions, 50u);
  EXPECT_GT(hits, 1000u);
}

TEST(Engine, LogprobsAreThoseOfScore) {
  const std::unique_ptr<Engine> engine = open();
  Runner runner = test::open_tiny();
  for (const double temperature : {0.0, 1.0}) {
    Request request = request_for(random_tokens(37));
    request.sampling.temperature = temperature;
    request.logprobs = 4;
    request.n = 3;
    for (const Collected::Continuation& c : run(*engine, request).continuations) {
      Tokens tokens = request.prompt;
      tokens.insert(tokens.end(), c.tokens.begin(), c.tokens.end());
      ASSERT_EQ(c.logprobs.size(), 24u);
      const std::vector<Tokens> sequences = {tokens};
      const Status status = score(runner, sequences, 4, [&](std::size_t, Scores scores) -> Status {
        for (std::size_t i = 0; i < c.tokens.size(); ++i) {
          const std::size_t at = request.prompt.size() + i;
          EXPECT_EQ(c.logprobs[i].chosen, (TokenLogprob{c.tokens[i], scores.logprobs[at], scores.ranks[at]})) << i;
          EXPECT_EQ(c.logprobs[i].top, scores.top[at]) << i;
        }
        return {};
      });
      EXPECT_TRUE(status.ok());
    }
  }
}

// Before the cuts at temperature 1: the model's own, bit for bit; else in the ratio of the temperature.
TEST(Engine, TemperedLogprobs) {
  const std::unique_ptr<Engine> engine = open();
  Request request = request_for(random_tokens(37));
  request.logprobs = 4;
  request.sampling.top_k = 2;
  request.sampling.top_p = 0.9;
  request.sampling.seed = 3;
  for (const double temperature : {1.0, 0.6}) {
    request.sampling.temperature = temperature;
    request.logprobs_mode = LogprobsMode::kRaw;
    const Collected raw = run(*engine, request);
    request.logprobs_mode = LogprobsMode::kTempered;
    const Collected tempered = run(*engine, request);
    ASSERT_EQ(raw.only().tokens, tempered.only().tokens);
    for (std::size_t i = 0; i < raw.only().logprobs.size(); ++i) {
      const Sample &a = raw.only().logprobs[i], &b = tempered.only().logprobs[i];
      EXPECT_EQ(a.chosen.rank, b.chosen.rank);
      ASSERT_EQ(b.top.size(), 4u) << "more than top-k leaves";
      for (std::size_t k = 1; k < 4; ++k) {
        EXPECT_EQ(a.top[k].token, b.top[k].token);
        EXPECT_NEAR(b.top[k].logprob - b.top[0].logprob, (a.top[k].logprob - a.top[0].logprob) / temperature, 1e-4);
      }
      if (temperature == 1) {
        EXPECT_EQ(a.chosen, b.chosen);
        EXPECT_EQ(a.top, b.top);
      } else {
        EXPECT_NE(a.chosen.logprob, b.chosen.logprob);
      }
    }
  }
}

TEST(Engine, PromptLogprobsAreThoseOfScore) {
  Runner runner = test::open_tiny();
  const std::vector<Tokens> sequences = {random_tokens(75)};
  Scores scores;
  ASSERT_TRUE(score(runner, sequences, 3, [&](std::size_t, Scores s) { return scores = std::move(s), Status(); }).ok());
  for (const std::uint64_t batched : {8u, 20u, 128u}) {
    const std::unique_ptr<Engine> engine = open({.batched = batched});
    for (const std::uint64_t start : {0u, 1u, 2u, 16u, 17u, 40u, 74u, 75u}) {
      SCOPED_TRACE(start);
      Request request = request_for(sequences[0], 0);
      request.prompt_logprobs = {.start = start, .top = 3};
      const Collected out = run(*engine, request);
      EXPECT_TRUE(out.only().tokens.empty());
      EXPECT_EQ(out.only().last.reason, FinishReason::kLength);
      // What lies before the start is found in the cache, once it is there.
      EXPECT_TRUE(start <= 40 || out.only().last.usage.cached_tokens == (start - 1) / 16 * 16);
      ASSERT_TRUE(out.prompt_logprobs);
      const std::uint64_t first = std::max<std::uint64_t>(start, 1);
      EXPECT_EQ(out.prompt_logprobs->start, first);
      ASSERT_EQ(out.prompt_logprobs->entries.size(), 75 - first);
      for (std::uint64_t at = first; at < 75; ++at) {
        const Sample& sample = out.prompt_logprobs->entries[at - first];
        EXPECT_EQ(sample.chosen, (TokenLogprob{sequences[0][at], scores.logprobs[at], scores.ranks[at]})) << at;
        EXPECT_EQ(sample.top, scores.top[at]) << at;
      }
    }
  }
}

TEST(Engine, PrefixHitsKeepTheBits) {
  const std::unique_ptr<Engine> engine = open(), fresh = open();
  Request request = request_for(random_tokens(40));
  request.logprobs = 2;
  const auto cached = [&](std::uint64_t expected) {
    const Collected out = run(*engine, request);
    EXPECT_EQ(out.only().last.usage.cached_tokens, expected);
    expect_same(out, alone(*fresh, request));
    return out.only().tokens;
  };
  cached(0);
  const Tokens answer = cached(32);
  EXPECT_EQ(engine->metrics().prefix_hits, 32u);
  EXPECT_EQ(engine->metrics().prefix_queries, 80u);
  // A next turn finds the answer too.
  request.prompt.insert(request.prompt.end(), answer.begin(), answer.end());
  const Tokens more = random_tokens(9, 3);
  request.prompt.insert(request.prompt.end(), more.begin(), more.end());
  cached(48);  // of 64 tokens the last was never fed
  request.prompt[20] = request.prompt[20] == 7 ? 8 : 7;
  cached(16);
  request.cache_salt = "another";
  cached(0);
  cached(64);
  engine->flush_prefix_cache();
  cached(0);
  // Off: only the continuations of one request share.
  const std::unique_ptr<Engine> off = open({}, {.enable_prefix_caching = false});
  request.n = 3;
  for (int i = 0; i < 2; ++i) {
    const Collected out = run(*off, request);
    EXPECT_EQ(out.continuations[0].last.usage.cached_tokens, 0u);
    EXPECT_EQ(out.continuations[1].last.usage.cached_tokens, 64u);
    expect_same(out, alone(*fresh, request));
  }
}

TEST(Engine, ContinuationsShareThePrompt) {
  const std::unique_ptr<Engine> engine = open({.batched = 128, .seqs = 8});
  Request request = request_for(random_tokens(100), 4);
  request.n = 5;
  const Collector out = add(*engine, request);
  ASSERT_TRUE(engine->step().ok());
  // 100 tokens once, and four behind the sixth block for each of the others.
  EXPECT_EQ(engine->metrics().step_tokens, 100u + 4 * 4u);
  EXPECT_EQ(engine->metrics().kv_blocks_used, 6u + 5u);
  run(*engine);
  std::set<Tokens> different;
  for (const auto& c : out.get().continuations) different.insert(c.tokens);
  EXPECT_EQ(different.size(), 5u);
  // Continuation i is what stream i of the seed gives, whatever n.
  request.n = 2;
  EXPECT_EQ(run(*engine, request).continuations[1].tokens, out.get().continuations[1].tokens);
}

TEST(Engine, PreemptionKeepsTheBits) {
  const std::unique_ptr<Engine> small = open({.batched = 16, .seqs = 4, .context = 128, .cache_tokens = 128});
  const std::unique_ptr<Engine> large = open();
  std::vector<Request> requests;
  std::vector<Collector> out;
  for (std::uint64_t i = 0; i < 4; ++i) {
    requests.push_back(request_for(random_tokens(10, i), 70));
    requests.back().logprobs = 1;
    out.push_back(add(*small, requests.back()));
  }
  run(*small);
  std::uint64_t preempted = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const Collected collected = out[i].get();
    preempted += collected.only().last.usage.preemptions;
    EXPECT_EQ(collected.only().events, 70u);  // no token came twice
    expect_same(collected, alone(*large, requests[i]));
  }
  EXPECT_GT(preempted, 0u);
  EXPECT_EQ(small->metrics().preemptions, preempted);
}

TEST(Engine, DynamicRopeToo) {
  // Beyond the trained length keys depend on how long the text is: whatever is computed again must have the same.
  test::CheckpointBuilder model = test::tiny_chat_model({.max_positions = 64});
  model.config()["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 4.0}};
  const test::TempDir dir;
  const std::filesystem::path folder = model.write(dir / "dynamic");
  const auto open_dynamic = [&](std::uint64_t batched, std::uint64_t cache) {
    EngineOptions options{.max_num_batched_tokens = batched, .max_num_seqs = 4, .max_model_len = 192};
    RunnerOptions runner = runner_options(options, {});
    runner.cache_tokens = cache;
    return std::move(Engine::create(test::open_model(folder, runner), options)).value();
  };
  const std::unique_ptr<Engine> small = open_dynamic(16, 192), large = open_dynamic(256, 4096);
  std::vector<Request> requests;
  std::vector<Collector> out;
  for (std::uint64_t i = 0; i < 4; ++i) {
    requests.push_back(request_for(random_tokens(50 + 5 * i, 3), 80));
    requests.back().logprobs = 1;
    requests.back().n = 1 + i % 2;
    out.push_back(add(*small, requests.back()));
  }
  run(*small);
  EXPECT_GT(small->metrics().preemptions, 0u);
  for (std::size_t i = 0; i < 4; ++i) expect_same(out[i].get(), alone(*large, requests[i]));
}

TEST(Engine, StopTokensAndEndTokens) {
  const std::unique_ptr<Engine> engine = open();
  Request request = request_for(random_tokens(20), 60);
  request.sampling.temperature = 0;
  const Collected whole = run(*engine, request);
  EXPECT_EQ(whole.only().last.reason, FinishReason::kLength);
  const Tokens& tokens = whole.only().tokens;
  // A token that has not been there before.
  std::size_t at = 5;
  while (std::count(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(at), tokens[at]) > 0) ++at;
  request.sampling.stop_token_ids = {tokens[at]};
  const Collected stopped = run(*engine, request);
  EXPECT_EQ(stopped.only().tokens, Tokens(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(at + 1)));
  EXPECT_EQ(stopped.only().last.reason, FinishReason::kStop);
  EXPECT_EQ(stopped.only().last.stop_token, tokens[at]);
  EXPECT_FALSE(stopped.only().last.end_token);
  EXPECT_FALSE(stopped.only().last.stop_text);
  // Its text is part of the output only if that is asked for.
  request.include_stop_in_output = true;
  const std::string with = run(*engine, request).only().text;
  EXPECT_EQ(with.substr(0, stopped.only().text.size()), stopped.only().text);
  // Before min_tokens it cannot come, and something else does.
  request.sampling.min_tokens = at + 3;
  const Tokens later = run(*engine, request).only().tokens;
  EXPECT_GE(later.size(), at + 3);
  EXPECT_TRUE(std::equal(later.begin(), later.begin() + static_cast<std::ptrdiff_t>(at), tokens.begin()));
  EXPECT_NE(later[at], tokens[at]);
  // The model's own end token, forced by a bias.
  request = request_for(random_tokens(20), 60);
  request.ignore_eos = false;
  request.sampling.logit_bias = {{test::TinyTokenizer::kEnd, 100.0}};
  const Collected ended = run(*engine, request);
  EXPECT_EQ(ended.only().tokens, Tokens{test::TinyTokenizer::kEnd});
  EXPECT_TRUE(ended.only().last.end_token);
  EXPECT_EQ(ended.only().last.stop_token, test::TinyTokenizer::kEnd);
  EXPECT_EQ(ended.only().text, "");
  request.sampling.min_tokens = 4;
  EXPECT_EQ(run(*engine, request).only().tokens.size(), 5u);
  request.ignore_eos = true;
  request.sampling.min_tokens = 0;
  EXPECT_EQ(run(*engine, request).only().tokens.size(), 60u);
}

TEST(Engine, StopTextsOverTokens) {
  const std::unique_ptr<Engine> engine = open();
  Request request = request_for(random_tokens(20), 60);
  const Collected whole = run(*engine, request);
  const std::string& text = whole.only().text;
  ASSERT_GT(text.size(), 30u);
  // From the middle of the text, several characters: with a token a byte it crosses token borders.
  const auto begins = [&](std::size_t i) { return (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80; };
  std::size_t begin = 12, end = 17;
  while (!begins(begin)) ++begin;
  end = std::max(end, begin + 4);
  while (end < text.size() && !begins(end)) ++end;
  const std::string stop = text.substr(begin, end - begin);
  request.stop = {"never there", stop};
  const Collected stopped = run(*engine, request);
  EXPECT_EQ(stopped.only().text, text.substr(0, text.find(stop)));
  EXPECT_EQ(stopped.only().last.reason, FinishReason::kStop);
  EXPECT_EQ(stopped.only().last.stop_text, stop);
  EXPECT_FALSE(stopped.only().last.stop_token);
  request.include_stop_in_output = true;
  EXPECT_EQ(run(*engine, request).only().text, text.substr(0, text.find(stop) + stop.size()));
  // What is said before min_tokens ends nothing.
  request.sampling.min_tokens = 60;
  const Collected late = run(*engine, request);
  EXPECT_EQ(late.only().tokens.size(), 60u);
  // Without text there is nothing to see and to stop at.
  request.stop.clear();
  request.detokenize = false;
  EXPECT_EQ(run(*engine, request).only().text, "");
}

TEST(Engine, SeedsAreDrawnWhereNoneIsGiven) {
  Request request = request_for(random_tokens(10));
  request.sampling.seed.reset();
  const std::unique_ptr<Engine> one = open({}, {.seed = 1}), same = open({}, {.seed = 1}),
                                other = open({}, {.seed = 2});
  const Tokens first = run(*one, request).only().tokens, second = run(*one, request).only().tokens;
  EXPECT_NE(first, second);
  EXPECT_EQ(run(*same, request).only().tokens, first);
  EXPECT_EQ(run(*same, request).only().tokens, second);
  EXPECT_NE(run(*other, request).only().tokens, first);
}

TEST(Engine, ProcessedLogprobsAreOfWhatIsDrawn) {
  const std::unique_ptr<Engine> engine = open();
  Request request = request_for(random_tokens(20), 30);
  request.logprobs = 8;
  request.sampling.top_k = 4;
  request.sampling.temperature = 0.7;
  request.logprobs_mode = LogprobsMode::kProcessed;
  const Collected out = run(*engine, request);
  for (const Sample& sample : out.only().logprobs) {
    ASSERT_EQ(sample.top.size(), 4u);
    double sum = 0;
    for (const TokenLogprob& t : sample.top) sum += std::exp(static_cast<double>(t.logprob));
    EXPECT_NEAR(sum, 1, 1e-6);
    EXPECT_NE(std::find(sample.top.begin(), sample.top.end(), sample.chosen), sample.top.end());
  }
  // Nothing is changed: both are the backend's numbers.
  request.sampling = {.seed = 7};
  const Collected processed = run(*engine, request);
  request.logprobs_mode = LogprobsMode::kRaw;
  expect_same(processed, run(*engine, request));
}

}  // namespace
}  // namespace octavo::engine
