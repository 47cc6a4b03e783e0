// The engine: a request's tokens, text and logprobs are the same bits whatever runs beside it; how outputs end; what
// happens to requests in flight when they are aborted, preempted, or the weights change.
#include "octavo/engine/engine.h"

#include "octavo/engine/kv_blocks.h"
#include "octavo/engine/score.h"
#include "tests/engine/collect.h"
#include "tests/engine/open_tiny.h"
#include "tests/support/random_tensor.h"

namespace octavo::engine {
namespace {

using test::Collected;
using test::Collector;
using Tokens = std::vector<std::int32_t>;

// ASCII: a prompt that ends in half a character would lend its end to the output.
Tokens random_tokens(std::size_t count, std::uint64_t seed = 1) {
  test::Random random(seed);
  Tokens out(count);
  for (std::int32_t& token : out) token = static_cast<std::int32_t>(random.below(128));
  return out;
}

Request request_for(Tokens prompt, std::uint64_t max_tokens = 24) {
  Request out;
  out.prompt = std::move(prompt);
  out.max_tokens = max_tokens;
  out.ignore_eos = true;
  out.sampling.seed = 7;
  return out;
}

struct Size {
  std::uint64_t batched = 64, seqs = 8, context = 256, cache_tokens = 4096;
};

std::unique_ptr<Engine> open(Size size = {}, EngineOptions options = {}, test::TinyDecoder model = {}) {
  options.max_num_batched_tokens = size.batched;
  options.max_num_seqs = size.seqs;
  options.max_model_len = size.context;
  RunnerOptions runner = runner_options(options, {});
  runner.cache_tokens = size.cache_tokens;
  Result<std::unique_ptr<Engine>> engine = Engine::create(test::open_tiny(runner, model), options);
  if (!engine.ok()) throw std::runtime_error(engine.error().message);
  return std::move(*engine);
}

Collector add(Engine& engine, const Request& request, RequestId* id = nullptr) {
  Collector out(request.n);
  Result<PreparedRequest> prepared = engine.prepare(request, out.sink());
  if (!prepared.ok()) throw std::runtime_error(prepared.error().message);
  if (id != nullptr) *id = prepared->id();
  engine.add(std::move(*prepared));
  return out;
}

void run(Engine& engine) {
  for (int steps = 0; engine.has_work(); ++steps) {
    ASSERT_LT(steps, 100'000) << "the engine does not come to an end";
    const Status status = engine.step();
    ASSERT_TRUE(status.ok()) << status.error().message;
  }
}

Collected run(Engine& engine, const Request& request) {
  const Collector out = add(engine, request);
  run(engine);
  EXPECT_TRUE(out.done());
  return out.get();
}

// Alone: nothing in the cache, nothing beside it.
Collected alone(Engine& engine, const Request& request) {
  engine.flush_prefix_cache();
  return run(engine, request);
}

void expect_same(const Collected& a, const Collected& b) {
  ASSERT_EQ(a.continuations.size(), b.continuations.size());
  for (std::size_t i = 0; i < a.continuations.size(); ++i) {
    const Collected::Continuation &x = a.continuations[i], &y = b.continuations[i];
    EXPECT_EQ(x.tokens, y.tokens) << i;
    EXPECT_EQ(x.text, y.text) << i;
    EXPECT_EQ(x.last.reason, y.last.reason) << i;
    EXPECT_EQ(x.last.stop_text, y.last.stop_text) << i;
    EXPECT_EQ(x.last.stop_token, y.last.stop_token) << i;
    ASSERT_EQ(x.logprobs.size(), y.logprobs.size()) << i;
    for (std::size_t t = 0; t < x.logprobs.size(); ++t) {
      EXPECT_EQ(x.logprobs[t].chosen, y.logprobs[t].chosen) << i << " " << t;
      EXPECT_EQ(x.logprobs[t].top, y.logprobs[t].top) << i << " " << t;
    }
  }
  ASSERT_EQ(a.prompt_logprobs.has_value(), b.prompt_logprobs.has_value());
  if (!a.prompt_logprobs) return;
  EXPECT_EQ(a.prompt_logprobs->start, b.prompt_logprobs->start);
  ASSERT_EQ(a.prompt_logprobs->entries.size(), b.prompt_logprobs->entries.size());
  for (std::size_t t = 0; t < a.prompt_logprobs->entries.size(); ++t) {
    EXPECT_EQ(a.prompt_logprobs->entries[t].chosen, b.prompt_logprobs->entries[t].chosen) << t;
    EXPECT_EQ(a.prompt_logprobs->entries[t].top, b.prompt_logprobs->entries[t].top) << t;
  }
}

// Some of everything that a request can ask for; prompts of few families, so that prefixes are shared.
Request random_request(test::Random& random) {
  const std::uint64_t family = random.below(3);
  Request out = request_for(random_tokens(1 + random.below(90), 100 + family), 1 + random.below(50));
  if (random.below(3) == 0) {
    const Tokens tail = random_tokens(1 + random.below(30), random.next());
    out.prompt.insert(out.prompt.end(), tail.begin(), tail.end());
  }
  out.sampling.seed = random.below(4);
  out.sampling.temperature = random.below(3) == 0 ? 0 : 0.5 + random.uniform();
  if (random.below(3) == 0) out.sampling.top_k = static_cast<std::int64_t>(1 + random.below(40));
  if (random.below(3) == 0) out.sampling.top_p = 0.5 + random.uniform() / 2;
  if (random.below(4) == 0) out.sampling.repetition_penalty = 1.2;
  if (random.below(4) == 0) out.sampling.frequency_penalty = 0.5;
  if (random.below(4) == 0) out.sampling.presence_penalty = -0.5;
  if (random.below(4) == 0) out.sampling.logit_bias = {{static_cast<std::int32_t>(random.below(320)), 3.0}};
  if (random.below(4) == 0) out.sampling.stop_token_ids = {static_cast<std::int32_t>(random.below(320))};
  if (random.below(4) == 0) out.sampling.min_tokens = random.below(*out.max_tokens + 1);
  if (random.below(4) == 0) out.stop = {std::string(1, static_cast<char>('a' + random.below(26))), "qx"};
  out.include_stop_in_output = random.below(2) == 0;
  out.ignore_eos = random.below(2) == 0;
  if (random.below(2) == 0) out.logprobs = static_cast<int>(random.below(4));
  if (random.below(3) == 0) out.logprobs_mode = LogprobsMode::kProcessed;
  if (random.below(4) == 0) {
    out.prompt_logprobs = {.start = random.below(out.prompt.size() + 1), .top = static_cast<int>(random.below(3))};
  }
  if (random.below(4) == 0) out.n = 1 + random.below(4);
  if (random.below(12) == 0) out.max_tokens = 0;
  if (out.max_tokens == 0) out.sampling.min_tokens = 0;
  out.priority = static_cast<int>(random.below(3));
  if (random.below(4) == 0) out.cache_salt = "salt";
  return out;
}

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

TEST(Engine, AbortInEveryState) {
  const std::unique_ptr<Engine> engine = open({.batched = 16, .seqs = 2, .context = 128, .cache_tokens = 128});
  RequestId waiting_id = 0, prompt_id = 0, decode_id = 0;
  const Collector decode = add(*engine, request_for(random_tokens(8, 1), 100), &decode_id);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(engine->step().ok());
  Request pair = request_for(random_tokens(60, 2), 20);
  const Collector prompt = add(*engine, pair, &prompt_id);
  ASSERT_TRUE(engine->step().ok());  // 15 of its 60 tokens
  pair.n = 3;
  const Collector waiting = add(*engine, pair, &waiting_id);
  EXPECT_EQ(engine->metrics().waiting, 3u);
  EXPECT_TRUE(engine->abort(waiting_id, "nobody waits for it"));
  EXPECT_TRUE(waiting.done());
  for (const auto& c : waiting.get().continuations) {
    EXPECT_TRUE(c.tokens.empty());
    EXPECT_EQ(c.last.reason, FinishReason::kAbort);
    EXPECT_EQ(c.last.error, "nobody waits for it");
  }
  EXPECT_TRUE(engine->abort(prompt_id));
  EXPECT_TRUE(prompt.get().only().tokens.empty());
  EXPECT_TRUE(engine->abort(decode_id));
  EXPECT_EQ(decode.get().only().tokens.size(), 5u);
  EXPECT_EQ(engine->metrics().kv_blocks_used, 0u);
  EXPECT_FALSE(engine->abort(decode_id));
  EXPECT_FALSE(engine->has_work());
  // Preempted: two grow until one has to go.
  const Collector first = add(*engine, request_for(random_tokens(40, 3), 80));
  RequestId second_id = 0;
  const Collector second = add(*engine, request_for(random_tokens(40, 4), 80), &second_id);
  while (engine->metrics().preemptions == 0) ASSERT_TRUE(engine->step().ok());
  const std::size_t had = second.get().only().tokens.size();
  EXPECT_GT(had, 0u);
  EXPECT_TRUE(engine->abort(second_id));
  EXPECT_EQ(second.get().only().tokens.size(), had);
  EXPECT_EQ(engine->abort_all(), 1u);
  EXPECT_TRUE(first.done());
  EXPECT_EQ(engine->metrics().kv_blocks_used, 0u);
  EXPECT_EQ(engine->metrics().finished[static_cast<std::size_t>(FinishReason::kAbort)], 7u);
}

TEST(Engine, EventsAreWhole) {
  // The Collector checks every event; here what the sums must be.
  const std::unique_ptr<Engine> engine = open();
  Request request = request_for(random_tokens(20), 10);
  request.n = 3;
  request.logprobs = 0;
  const Collected out = run(*engine, request);
  for (const auto& c : out.continuations) {
    EXPECT_EQ(c.events, 10u);
    EXPECT_EQ(c.logprobs.size(), 10u);
    EXPECT_EQ(c.last.usage.prompt_tokens, 20u);
    EXPECT_EQ(c.last.versions, (std::vector<VersionSpan>{{1, "default", 0, 10}}));
  }
  const EngineMetrics metrics = engine->metrics();
  EXPECT_EQ(metrics.prompt_tokens, 20u);
  EXPECT_EQ(metrics.generation_tokens, 30u);
  EXPECT_EQ(metrics.finished[static_cast<std::size_t>(FinishReason::kLength)], 3u);
  EXPECT_EQ(metrics.time_to_first_token.count, 3u);
  EXPECT_EQ(metrics.inter_token_latency.count, 27u);
  EXPECT_EQ(metrics.e2e_latency.count, 1u);
  EXPECT_EQ(metrics.queue_time.count, 1u);
  EXPECT_EQ(metrics.running + metrics.waiting, 0u);
}

TEST(Engine, LengthLimits) {
  const std::unique_ptr<Engine> engine = open({.context = 50});
  Request request = request_for(random_tokens(40));
  for (const std::optional<std::uint64_t> all : {std::optional<std::uint64_t>(10), {11}, {1000}, {}}) {
    request.max_tokens = all;
    EXPECT_EQ(run(*engine, request).only().tokens.size(), 10u);
  }
  request.prompt = random_tokens(50);
  request.max_tokens = 0;
  EXPECT_EQ(run(*engine, request).only().last.reason, FinishReason::kLength);
}

// ---- weights

// Changes one weight of the model, so that everything it says is different; again: back.
void change_weights(Engine& engine, float factor) {
  Runner& runner = engine.runner();
  backend::Buffer& norm = *runner.model->weights.final_norm;
  for (std::uint64_t i = 0; i < norm.size(); i += 3) norm.data()[i] *= factor;
  backend::Buffer& first = *runner.model->weights.layers[0].input_norm;
  for (std::uint64_t i = 0; i < first.size(); i += 2) first.data()[i] *= factor;
}

TEST(Engine, VersionsAndRecompute) {
  const std::unique_ptr<Engine> engine = open(), fresh = open();
  Request request = request_for(random_tokens(40), 30);
  request.logprobs = 2;
  const Collector out = add(*engine, request);
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(engine->step().ok());
  change_weights(*engine, 1.5f);
  change_weights(*fresh, 1.5f);
  ASSERT_TRUE(engine->weights_changed(InFlight::kRecompute, "step 1").ok());
  EXPECT_EQ(engine->weight_version().number, 2u);
  EXPECT_EQ(engine->weight_version().label, "step 1");
  run(*engine);
  const Collected whole = out.get();
  const Collected::Continuation& c = whole.only();
  EXPECT_EQ(c.last.versions, (std::vector<VersionSpan>{{1, "default", 0, 12}, {2, "step 1", 12, 30}}));
  EXPECT_EQ(c.last.usage.preemptions, 1u);
  // Bit for bit the logprobs of a new request with these tokens as its prompt, on the new weights.
  Request scored = request_for(request.prompt, 0);
  scored.prompt.insert(scored.prompt.end(), c.tokens.begin(), c.tokens.end());
  scored.prompt_logprobs = {.start = request.prompt.size(), .top = 2};
  const Collected again = run(*fresh, scored);
  for (std::size_t i = 0; i < 30; ++i) {
    const Sample& sample = again.prompt_logprobs->entries.at(i);
    if (i < 12) {
      EXPECT_NE(c.logprobs[i].chosen, sample.chosen) << i;
    } else {
      EXPECT_EQ(c.logprobs[i].chosen, sample.chosen) << i;
      EXPECT_EQ(c.logprobs[i].top, sample.top) << i;
    }
  }
  // Nothing of the old version is found; what was computed since is.
  expect_same(run(*engine, request), run(*fresh, request));
}

TEST(Engine, VersionsInPlace) {
  const std::unique_ptr<Engine> engine = open(), fresh = open();
  Request request = request_for(random_tokens(40), 40);
  request.logprobs = 0;
  const Collector out = add(*engine, request);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(engine->step().ok());
  const std::uint64_t computed = engine->metrics().step_tokens;
  change_weights(*engine, 1.5f);
  change_weights(*fresh, 1.5f);
  ASSERT_TRUE(engine->weights_changed(InFlight::kInPlace, "step 1").ok());
  run(*engine);
  EXPECT_EQ(engine->metrics().step_tokens, computed + 30);  // nothing was computed again
  const Collected whole = out.get();
  EXPECT_EQ(whole.only().last.versions, (std::vector<VersionSpan>{{1, "default", 0, 10}, {2, "step 1", 10, 40}}));
  // Its keys and values are a mixture, and nobody finds them.
  Request next = request_for(request.prompt, 10);
  next.prompt.insert(next.prompt.end(), whole.only().tokens.begin(), whole.only().tokens.end());
  next.logprobs = 3;
  const Collected after = run(*engine, next);
  EXPECT_EQ(after.only().last.usage.cached_tokens, 0u);
  expect_same(after, run(*fresh, next));
  engine->set_weight_label("renamed");
  EXPECT_EQ(engine->weight_version().number, 2u);
  EXPECT_EQ(run(*engine, next).only().last.versions, (std::vector<VersionSpan>{{2, "renamed", 0, 10}}));
}

TEST(Engine, VersionsAbort) {
  const std::unique_ptr<Engine> engine = open();
  const Collector running = add(*engine, request_for(random_tokens(20), 50));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine->step().ok());
  const Status refused = engine->weights_changed(InFlight::kWait, "x");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message, "request 1 has begun with the old weights and is not finished");
  EXPECT_EQ(engine->weight_version().number, 1u);
  ASSERT_TRUE(engine->weights_changed(InFlight::kAbort, "x").ok());
  EXPECT_TRUE(running.done());
  EXPECT_EQ(running.get().only().tokens.size(), 5u);
  EXPECT_EQ(engine->weight_version().number, 2u);
  ASSERT_TRUE(engine->weights_changed(InFlight::kWait, "y").ok());
}

TEST(Engine, HoldNewFinishesTheOld) {
  const std::unique_ptr<Engine> engine = open({.seqs = 1});
  const Collector running = add(*engine, request_for(random_tokens(20), 5)),
                  queued = add(*engine, request_for(random_tokens(20), 5));
  ASSERT_TRUE(engine->step().ok());
  engine->hold_new();
  const Collector fresh = add(*engine, request_for(random_tokens(20), 5));
  EXPECT_EQ(engine->held_back(), 1u);
  run(*engine);
  EXPECT_TRUE(running.done() && queued.done());
  EXPECT_FALSE(fresh.done());
  EXPECT_EQ(engine->unfinished(), engine->held_back());
  engine->release_hold();
  run(*engine);
  EXPECT_TRUE(fresh.done());
}

TEST(Engine, PausedAndWithoutItsCache) {
  const std::unique_ptr<Engine> engine = open(), fresh = open();
  Request request = request_for(random_tokens(40), 20);
  const Collector out = add(*engine, request);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine->step().ok());
  engine->set_paused(true);
  EXPECT_FALSE(engine->has_work());
  ASSERT_TRUE(engine->step().ok());
  EXPECT_EQ(out.get().only().tokens.size(), 5u);
  engine->release_kv_cache();
  EXPECT_FALSE(engine->has_kv_cache());
  engine->set_paused(false);
  EXPECT_FALSE(engine->has_work());
  ASSERT_TRUE(engine->restore_kv_cache().ok());
  run(*engine);
  expect_same(out.get(), run(*fresh, request));
}

// ---- what cannot run

std::string error_of(const Engine& engine, const Request& request) {
  const Result<PreparedRequest> prepared = engine.prepare(request, {});
  return prepared.ok() ? "no failure" : prepared.error().message;
}

TEST(Engine, RefusesWhatCannotRun) {
  const std::unique_ptr<Engine> engine = open({.context = 50});
  const auto changed = [](auto change) {
    Request out = request_for(random_tokens(10));
    change(out);
    return out;
  };
  const std::vector<std::pair<Request, std::string>> rows = {
      {changed([](Request& r) { r.prompt.clear(); }),
       "the prompt is empty: a model needs at least one token to go on from"},
      {changed([](Request& r) { r.prompt = random_tokens(50); }),
       "the prompt has 50 tokens, which leaves no room in the context of 50"},
      {changed([](Request& r) { r.prompt = random_tokens(51), r.max_tokens = 0; }),
       "the prompt has 51 tokens, which leaves no room in the context of 50"},
      {changed([](Request& r) { r.prompt[3] = 320; }),
       "token id 320 of the prompt is outside the model's vocabulary of 320"},
      {changed([](Request& r) { r.prompt[3] = -1; }),
       "token id -1 of the prompt is outside the model's vocabulary of 320"},
      {changed([](Request& r) { r.sampling.temperature = -1; }), "--temperature -1: must be 0 or more"},
      {changed([](Request& r) { r.sampling.frequency_penalty = 3; }), "--frequency-penalty 3: must be from -2 to 2"},
      {changed([](Request& r) { r.sampling.stop_token_ids = {400}; }),
       "token id 400 of stop_token_ids is outside the model's vocabulary of 320"},
      {changed([](Request& r) {
         r.sampling.logit_bias = {{4, 101.0}};
       }),
       "logit bias 101 of token 4: must be from -100 to 100"},
      {changed([](Request& r) {
         r.sampling.logit_bias = {{4, 1.0}, {4, 2.0}};
       }),
       "logit_bias: token 4 stands there twice"},
      {changed([](Request& r) { r.sampling.min_tokens = 25; }), "min_tokens 25: more than max_tokens, 24"},
      {changed([](Request& r) { r.n = 0; }), "n 0: must be from 1 to 1024"},
      {changed([](Request& r) {
         r.stop = {"a", ""};
       }),
       "stop: an empty text would end the output before it begins"},
      {changed([](Request& r) { r.stop = {"a"}, r.detokenize = false; }),
       "stop: without detokenize there is no text to stop at"},
      {changed([](Request& r) { r.logprobs = 21; }), "logprobs 21: more than --max-logprobs, 20"},
      {changed([](Request& r) { r.logprobs = -1; }), "logprobs -1: must be 0 or more"},
      {changed([](Request& r) { r.prompt_logprobs = {.start = 11, .top = 0}; }),
       "prompt_logprobs from position 11: the prompt has 10 tokens"},
  };
  for (const auto& [request, message] : rows) EXPECT_EQ(error_of(*engine, request), message);
  EXPECT_EQ(error_of(*engine, request_for(random_tokens(10))), "no failure");
}

TEST(Engine, NonFiniteLogits) {
  const std::unique_ptr<Engine> engine = open();
  const Request request = request_for(random_tokens(20), 10);
  const Collected before = run(*engine, request);
  backend::Buffer& norm = *engine->runner().model->weights.final_norm;
  const float right = norm.data()[0];
  norm.data()[0] = std::numeric_limits<float>::quiet_NaN();
  const Collector broken = add(*engine, request);
  Request scored = request_for(random_tokens(30, 5), 10);
  scored.prompt_logprobs.emplace();
  scored.n = 2;
  const Collector broken_prompt = add(*engine, scored);
  run(*engine);
  EXPECT_EQ(broken.get().only().last.reason, FinishReason::kAbort);
  EXPECT_EQ(broken.get().only().last.error, "the model's logits for token 1 of the output are not finite numbers");
  EXPECT_TRUE(broken_prompt.done());
  EXPECT_EQ(broken_prompt.get().only().last.error,
            "the model's logits for token 1 of the prompt are not finite numbers");
  EXPECT_EQ(engine->metrics().kv_blocks_used, 0u);
  norm.data()[0] = right;
  expect_same(run(*engine, request), before);
}

TEST(Engine, AFailureOfTheModel) {
  const std::unique_ptr<Engine> engine = open({.batched = 24});
  const Request request = request_for(random_tokens(20), 10);
  const Collected before = run(*engine, request);
  const Collector failing = add(*engine, request_for(random_tokens(70, 2), 10));
  const Collector waiting = add(*engine, request);
  // A cache that lacks the blocks of the plan.
  std::unique_ptr<backend::KvCache> cache =
      engine->runner().decoder->create_kv_cache(1, backend::KvDType::kBF16, kKvBlockTokens).value();
  std::swap(engine->runner().cache, cache);
  const Status status = engine->step();
  std::swap(engine->runner().cache, cache);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(failing.get().only().last.reason, FinishReason::kAbort);
  EXPECT_EQ(failing.get().only().last.error, status.error().message);
  EXPECT_FALSE(waiting.done());
  run(*engine);
  EXPECT_EQ(waiting.get().only().last.usage.cached_tokens, 0u);  // who knows what was written
  expect_same(waiting.get(), before);
  EXPECT_EQ(engine->metrics().kv_blocks_used, 0u);
}

TEST(Engine, NothingIsLeft) {
  const std::unique_ptr<Engine> engine = open({.seqs = 3});
  test::Random random(3);
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 6; ++i) add(*engine, random_request(random));
    for (int i = 0; i < 7; ++i) ASSERT_TRUE(engine->step().ok());
    engine->abort_all();
    EXPECT_EQ(engine->unfinished(), 0u);
    EXPECT_EQ(engine->metrics().kv_blocks_used, 0u);
    EXPECT_EQ(engine->metrics().waiting + engine->metrics().running, 0u);
  }
}

// ---- sizes

TEST(EngineOptions, Contradictions) {
  const auto error = [](const EngineOptions& options) {
    const Status status = check_engine_options(options);
    return status.ok() ? "" : status.error().message;
  };
  EXPECT_EQ(error({}), "");
  EXPECT_EQ(error({.max_num_seqs = 0}), "--max-num-seqs 0: must be 1 or more");
  EXPECT_EQ(error({.max_num_batched_tokens = 8, .max_num_seqs = 9}),
            "--max-num-batched-tokens 8: must be at least --max-num-seqs, 9: a step has a token of each");
  EXPECT_EQ(error({.kv_memory = 1, .gpu_memory_utilization = 0.5}),
            "--kv-memory and --gpu-memory-utilization say the same: give one of them");
  for (const double share : {0.0, -1.0, 1.5}) {
    EXPECT_NE(error({.gpu_memory_utilization = share}), "") << share;
  }
  EXPECT_NE(error({.gpu_memory_utilization = std::numeric_limits<double>::quiet_NaN()}), "");
}

TEST(EngineOptions, BlocksThatFit) {
  const auto fit = [](const EngineOptions& options, std::uint64_t context, std::uint64_t free) {
    const Result<std::uint64_t> blocks = kv_blocks_that_fit(options, context, 1000, free);
    return blocks.ok() ? std::to_string(*blocks) : blocks.error().message;
  };
  EXPECT_EQ(fit({.gpu_memory_utilization = 0.5}, 160, 100'000), "50");
  EXPECT_EQ(fit({}, 160, 100'000), "50");
  EXPECT_EQ(fit({.kv_memory = 25'999}, 160, 100'000), "25");
  // More than all could use at once is left to others.
  EXPECT_EQ(fit({.max_num_seqs = 3, .gpu_memory_utilization = 1.0}, 160, 100'000), "30");
  EXPECT_EQ(fit({.gpu_memory_utilization = 1.0}, 160, 10'000), "10");
  EXPECT_EQ(
      fit({.gpu_memory_utilization = 0.5}, 176, 20'000),
      "a sequence of 176 tokens needs 11.0 kB of KV cache, but --gpu-memory-utilization 0.5 of the 20.0 kB that the "
      "weights leave gives 10.0 kB: lower --max-model-len to 160 or raise the share");
  EXPECT_EQ(
      fit({.kv_memory = 9'000}, 160, 20'000),
      "a sequence of 160 tokens needs 10.0 kB of KV cache, but --kv-memory gives 9.0 kB: lower --max-model-len to 144 "
      "or raise it");
  EXPECT_EQ(fit({.kv_memory = 30'000}, 160, 20'000), "--kv-memory 30.0 kB: only 20.0 kB are free after the weights");
  EXPECT_EQ(fit({.max_num_seqs = 4, .gpu_memory_utilization = 1.0}, 16, ~std::uint64_t{0}), "4");
}

TEST(EngineOptions, TheCacheHasTheSizeThatWasAskedFor) {
  const test::TempDir dir;
  const std::filesystem::path folder = test::tiny_chat_model().write(dir / "model");
  EngineOptions options{.max_num_batched_tokens = 64, .max_num_seqs = 4, .max_model_len = 128};
  RunnerOptions base;
  base.load.isa = detect_isa();
  base.load.threads = 2;
  const auto opened = [&] {
    Result<RunnerFolder> read = read_runner_folder(folder);
    return Engine::open(std::move(read).value(), base, options);
  };
  EXPECT_EQ((*opened())->kv_blocks(), 4 * 8u);  // all that four sequences could use
  // BF16, two layers, two heads of 32, keys and values: 8 KiB a block.
  options.kv_memory = 20 * 8192;
  EXPECT_EQ((*opened())->kv_blocks(), 20u);
  options.kv_memory = 7 * 8192;
  const auto refused = opened();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(
      refused.error().message,
      "a sequence of 128 tokens needs 65.5 kB of KV cache, but --kv-memory gives 57.3 kB: lower --max-model-len to "
      "112 or raise it");
}

}  // namespace
}  // namespace octavo::engine
