// The engine's thread: many callers at once, pauses and updates between steps, shutdown. Written so that the thread
// sanitizer can run it: nothing here waits for a time.
#include "octavo/engine/engine_thread.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <thread>

#include "tests/engine/collect.h"
#include "tests/engine/open_tiny.h"
#include "tests/support/random_tensor.h"

namespace octavo::engine {
namespace {

using test::Collector;
using Tokens = std::vector<std::int32_t>;

Request request_for(std::size_t prompt, std::uint64_t max_tokens, std::uint64_t seed = 1) {
  Request out;
  out.prompt = test::random_tokens(prompt, seed);
  out.max_tokens = max_tokens;
  out.ignore_eos = true;
  out.sampling.seed = seed;
  return out;
}

std::unique_ptr<Engine> open_engine() {
  const EngineOptions options{.max_num_batched_tokens = 32, .max_num_seqs = 4, .max_model_len = 256};
  RunnerOptions runner = runner_options(options, {});
  runner.cache_tokens = 600;
  return std::move(Engine::create(test::open_tiny(runner), options)).value();
}

using test::Waiting;

RequestId submit(EngineThread& engine, const Request& request, Waiting& to) {
  Result<RequestId> id = engine.submit(request, to.sink());
  if (!id.ok()) throw std::runtime_error(id.error().message);
  return *id;
}

TEST(EngineThread, ManyCallers) {
  EngineThread engine(open_engine());
  // What each request says alone.
  std::vector<Tokens> expected;
  for (std::uint64_t i = 0; i < 6; ++i) {
    Waiting out;
    submit(engine, request_for(10 + 7 * i, 20, i), out);
    expected.push_back(out.wait().only().tokens);
  }
  std::vector<std::thread> callers;
  std::atomic<int> right{0}, aborted{0};
  for (std::uint64_t caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&, caller] {
      test::Random random(caller);
      for (int i = 0; i < 8; ++i) {
        Waiting out;
        const RequestId id = submit(engine, request_for(10 + 7 * caller, 20, caller), out);
        const bool abort = random.below(3) == 0;
        if (abort) engine.abort(id);
        EXPECT_GE(engine.metrics().kv_blocks, 16u);
        const test::Collected collected = out.wait();
        const Tokens& tokens = collected.only().tokens;
        EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), expected[caller].begin()));
        if (collected.only().last.reason == FinishReason::kAbort) {
          EXPECT_TRUE(abort);
          ++aborted;
        } else {
          EXPECT_EQ(tokens, expected[caller]);
          ++right;
        }
      }
    });
  }
  // Meanwhile others pause, flush and look.
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(engine.pause(i % 2 == 0 ? InFlight::kRecompute : InFlight::kInPlace).ok());
    EXPECT_TRUE(engine.paused());
    EXPECT_TRUE(engine.run_exclusive([](Engine& e) { return e.flush_prefix_cache(), Status(); }).ok());
    engine.resume();
    std::this_thread::yield();
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(right + aborted, 48);
  EXPECT_GT(right, 0);
  EXPECT_EQ(engine.metrics().kv_blocks_used, 0u);
}

TEST(EngineThread, PausedMeansNoTokens) {
  EngineThread engine(open_engine());
  Waiting out;
  submit(engine, request_for(20, 200), out);
  out.wait_for_tokens(3);
  for (const InFlight mode : {InFlight::kInPlace, InFlight::kRecompute}) {
    ASSERT_TRUE(engine.pause(mode).ok());
    const std::uint64_t steps = engine.metrics().steps;
    Waiting queued;
    submit(engine, request_for(5, 3), queued);
    ASSERT_TRUE(engine.run_exclusive([](Engine&) { return Status(); }).ok());
    EXPECT_EQ(engine.metrics().steps, steps);
    EXPECT_FALSE(queued.done());
    EXPECT_EQ(engine.metrics().running, mode == InFlight::kInPlace ? 1u : 0u);
    engine.resume();
    EXPECT_FALSE(engine.paused());
    EXPECT_EQ(queued.wait().only().tokens.size(), 3u);
  }
  // Those that wait are paused too.
  const Status refused = [&] {
    EXPECT_TRUE(engine.pause(InFlight::kInPlace).ok());
    return engine.pause(InFlight::kWait);
  }();
  if (!out.done()) {
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().message,
              "the engine is paused with 1 requests that have begun: they cannot be waited for");
  }
  ASSERT_TRUE(engine.pause(InFlight::kAbort).ok());
  EXPECT_TRUE(out.done());
  ASSERT_TRUE(engine.pause(InFlight::kWait).ok());
}

TEST(EngineThread, UpdateWaits) {
  EngineThread engine(open_engine());
  Waiting before, after;
  submit(engine, request_for(20, 60), before);
  before.wait_for_tokens(2);
  // The update is asked for while the first runs; a second request comes while it waits.
  std::atomic<bool> before_was_done{false};
  std::thread updater([&] {
    const Status status = engine.update_weights(InFlight::kWait, "new", [&](Engine& e) {
      before_was_done = before.done();
      EXPECT_EQ(e.begun(), 0u);
      return Status();
    });
    EXPECT_TRUE(status.ok());
  });
  submit(engine, request_for(20, 5), after);
  updater.join();
  EXPECT_TRUE(before_was_done);
  EXPECT_EQ(engine.engine().weight_version().number, 2u);
  EXPECT_EQ(before.wait().only().last.versions, (std::vector<VersionSpan>{{1, "default", 0, 60}}));
  EXPECT_EQ(after.wait().only().tokens.size(), 5u);
}

TEST(EngineThread, UpdateIsNotStarvedByNewRequests) {
  EngineThread engine(open_engine());
  // Three clients that ask again as soon as they are answered: the engine is never empty.
  constexpr int kMost = 20'000;
  std::atomic<int> asked{0};
  std::atomic<bool> enough{false};
  std::function<void(Event)> again = [&](Event event) {
    if (!event.all_finished || enough || ++asked > kMost) return;
    // Refused once the engine shuts down.
    static_cast<void>(engine.submit(request_for(3, 4), again));
  };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.submit(request_for(3, 4 + static_cast<std::uint64_t>(i)), again).ok());
  EXPECT_TRUE(engine.update_weights(InFlight::kWait, "x", [](Engine&) { return Status(); }).ok());
  EXPECT_LT(asked, kMost);
  enough = true;
  engine.shutdown(std::chrono::minutes(10));
}

TEST(EngineThread, SeveralUpdatesThatWait) {
  EngineThread engine(open_engine());
  std::vector<std::unique_ptr<Waiting>> requests;
  std::vector<std::thread> updaters;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(std::make_unique<Waiting>());
    submit(engine, request_for(20, 30), *requests.back());
    updaters.emplace_back([&engine, i] {
      EXPECT_TRUE(engine.update_weights(InFlight::kWait, std::to_string(i), [](Engine&) { return Status(); }).ok());
    });
  }
  for (std::thread& updater : updaters) updater.join();
  for (const auto& request : requests) {
    // Whenever each began, it never saw two versions.
    EXPECT_EQ(request->wait().only().last.versions.size(), 1u);
  }
  EXPECT_EQ(engine.engine().weight_version().number, 5u);
}

TEST(EngineThread, UpdatePolicies) {
  EngineThread engine(open_engine());
  for (const InFlight mode : {InFlight::kRecompute, InFlight::kInPlace, InFlight::kAbort}) {
    Waiting out;
    submit(engine, request_for(20, 200), out);
    out.wait_for_tokens(2);
    ASSERT_TRUE(engine.update_weights(mode, "next", [](Engine&) { return Status(); }).ok());
    const test::Collected collected = out.wait();
    if (mode == InFlight::kAbort) {
      EXPECT_EQ(collected.only().last.reason, FinishReason::kAbort);
      EXPECT_LT(collected.only().tokens.size(), 200u);
    } else {
      EXPECT_EQ(collected.only().tokens.size(), 200u);
    }
  }
  EXPECT_EQ(engine.metrics().weight_updates, 3u);
}

TEST(EngineThread, FailedUpdate) {
  EngineThread engine(open_engine());
  Waiting out, again;
  const Request request = request_for(40, 150);
  submit(engine, request, out);
  out.wait_for_tokens(1);
  const Status status =
      engine.update_weights(InFlight::kRecompute, "bad", [](Engine&) -> Status { return failure("a scale is NaN"); });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "a scale is NaN");
  EXPECT_EQ(engine.engine().weight_version().number, 1u);
  EXPECT_EQ(engine.engine().weight_version().label, "default");
  const test::Collected first = out.wait();
  EXPECT_EQ(first.only().last.usage.preemptions, 0u);
  submit(engine, request, again);
  EXPECT_EQ(again.wait().only().last.usage.cached_tokens, 32u);
  EXPECT_EQ(again.wait().only().tokens, first.only().tokens);
}

TEST(EngineThread, OwnThreadMayNotWaitForItself) {
  EngineThread engine(open_engine());
  const Status status = engine.run_exclusive([&](Engine&) { return engine.pause(InFlight::kInPlace); });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "the engine's own thread cannot wait for itself");
  // But it may submit and abort.
  Waiting second;
  std::atomic<RequestId> second_id{0};
  Waiting first;
  EventSink sink = first.sink();
  ASSERT_TRUE(engine
                  .submit(request_for(5, 3),
                          [&, sink](Event event) {
                            if (event.finished) second_id = submit(engine, request_for(5, 200), second);
                            if (event.finished) engine.abort(second_id);
                            sink(std::move(event));
                          })
                  .ok());
  first.wait();
  EXPECT_EQ(second.wait().only().last.reason, FinishReason::kAbort);
}

TEST(EngineThread, ShutdownDrains) {
  EngineThread engine(open_engine());
  std::vector<std::unique_ptr<Waiting>> requests;
  for (std::uint64_t i = 0; i < 8; ++i) {
    requests.push_back(std::make_unique<Waiting>());
    submit(engine, request_for(20, 10, i), *requests.back());
  }
  engine.shutdown(std::chrono::minutes(10));
  for (const auto& request : requests) {
    EXPECT_TRUE(request->done());
    EXPECT_EQ(request->wait().only().tokens.size(), 10u);
  }
  const Result<RequestId> late = engine.submit(request_for(5, 5), {});
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().message, "the engine is shutting down");
  EXPECT_FALSE(engine.pause(InFlight::kAbort).ok());
  engine.shutdown(std::chrono::milliseconds(0));
}

TEST(EngineThread, ShutdownAborts) {
  auto engine = std::make_unique<EngineThread>(open_engine());
  Waiting running, queued, waits;
  submit(*engine, request_for(20, 230), running);
  running.wait_for_tokens(2);
  std::thread updater([&] {
    // Fails, or has come before: it never hangs.
    static_cast<void>(engine->update_weights(InFlight::kWait, "x", [](Engine&) { return Status(); }));
  });
  submit(*engine, request_for(20, 200), queued);
  engine->shutdown(std::chrono::milliseconds(0));
  updater.join();
  engine.reset();
  EXPECT_TRUE(running.done());
  EXPECT_EQ(running.wait().only().last.reason, FinishReason::kAbort);
  EXPECT_EQ(queued.wait().only().last.reason, FinishReason::kAbort);
  EXPECT_EQ(queued.wait().only().last.error, "the engine is shutting down");
}

TEST(EngineThread, ShutdownWhilePausedDoesNotHang) {
  EngineThread engine(open_engine());
  Waiting out;
  submit(engine, request_for(20, 200), out);
  out.wait_for_tokens(1);
  ASSERT_TRUE(engine.pause(InFlight::kInPlace).ok());
  engine.shutdown(std::chrono::minutes(10));
  EXPECT_TRUE(out.done());
}

}  // namespace
}  // namespace octavo::engine
