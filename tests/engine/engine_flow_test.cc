// What happens to requests in flight: aborts, new weights, pauses, failures of the model; what is refused; that nothing
// is left behind.
#include "tests/engine/engine_support.h"

namespace octavo::engine {
namespace {

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
      {changed([](Request& r) { r.sampling.temperature = -1; }), "temperature -1: must be 0 or more"},
      {changed([](Request& r) { r.sampling.frequency_penalty = 3; }), "frequency_penalty 3: must be from -2 to 2"},
      {changed([](Request& r) { r.sampling.stop_token_ids = {400}; }),
       "token id 400 of stop_token_ids is outside the model's vocabulary of 320"},
      {changed([](Request& r) {
         r.sampling.logit_bias = {{4, 101.0}};
       }),
       "logit_bias 101 of token 4: must be from -100 to 100"},
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
      {changed([](Request& r) { r.logprobs = 21; }), "logprobs 21: more than max_logprobs, 20"},
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

}  // namespace
}  // namespace octavo::engine
