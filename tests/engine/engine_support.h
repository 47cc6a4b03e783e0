// An engine over a small random model, and what its tests do with requests: add, run to the end, run alone, compare.
#pragma once

#include "octavo/engine/engine.h"
#include "octavo/engine/kv_blocks.h"
#include "octavo/engine/score.h"
#include "tests/engine/collect.h"
#include "tests/engine/open_tiny.h"
#include "tests/support/random_tensor.h"

namespace octavo::engine {

using test::Collected;
using test::Collector;
using test::random_tokens;
using Tokens = std::vector<std::int32_t>;

inline Request request_for(Tokens prompt, std::uint64_t max_tokens = 24) {
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

inline std::unique_ptr<Engine> open(Size size = {}, EngineOptions options = {}, test::TinyDecoder model = {}) {
  options.max_num_batched_tokens = size.batched;
  options.max_num_seqs = size.seqs;
  options.max_model_len = size.context;
  RunnerOptions runner = runner_options(options, {});
  runner.cache_tokens = size.cache_tokens;
  Result<std::unique_ptr<Engine>> engine = Engine::create(test::open_tiny(runner, model), options);
  if (!engine.ok()) throw std::runtime_error(engine.error().message);
  return std::move(*engine);
}

inline Collector add(Engine& engine, const Request& request, RequestId* id = nullptr) {
  Collector out(request.n);
  Result<PreparedRequest> prepared = engine.prepare(request, out.sink());
  if (!prepared.ok()) throw std::runtime_error(prepared.error().message);
  if (id != nullptr) *id = prepared->id();
  engine.add(std::move(*prepared));
  return out;
}

inline void run(Engine& engine) {
  for (int steps = 0; engine.has_work(); ++steps) {
    ASSERT_LT(steps, 100'000) << "the engine does not come to an end";
    const Status status = engine.step();
    ASSERT_TRUE(status.ok()) << status.error().message;
  }
}

inline Collected run(Engine& engine, const Request& request) {
  const Collector out = add(engine, request);
  run(engine);
  EXPECT_TRUE(out.done());
  return out.get();
}

// Alone: nothing in the cache, nothing beside it.
inline Collected alone(Engine& engine, const Request& request) {
  engine.flush_prefix_cache();
  return run(engine, request);
}

inline void expect_same(const Collected& a, const Collected& b) {
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
inline Request random_request(test::Random& random) {
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

}  // namespace octavo::engine
