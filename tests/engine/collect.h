// What a request's events add up to; every event is checked against the contract as it comes.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "octavo/base/text.h"
#include "octavo/engine/request.h"

namespace octavo::test {

struct Collected {
  struct Continuation {
    std::vector<std::int32_t> tokens;
    std::string text;
    std::vector<engine::Sample> logprobs;
    engine::Event last;  // without tokens, text and logprobs
    std::uint64_t events = 0;
    bool finished = false;
  };
  std::vector<Continuation> continuations;
  std::optional<engine::PromptLogprobs> prompt_logprobs;
  bool all_finished = false;

  const Continuation& only() const { return continuations.at(0); }
};

// Shared with the sink, which may run in another thread.
class Collector {
 public:
  explicit Collector(std::uint64_t n = 1) : state_(std::make_shared<State>()) { state_->out.continuations.resize(n); }

  engine::EventSink sink() const {
    return [state = state_](engine::Event event) {
      const std::lock_guard lock(state->mutex);
      take(state->out, std::move(event));
    };
  }
  Collected get() const {
    const std::lock_guard lock(state_->mutex);
    return state_->out;
  }
  bool done() const {
    const std::lock_guard lock(state_->mutex);
    return state_->out.all_finished;
  }

 private:
  struct State {
    std::mutex mutex;
    Collected out;
  };

  static void take(Collected& out, engine::Event event) {
    ASSERT_LT(event.index, out.continuations.size());
    Collected::Continuation& c = out.continuations[event.index];
    EXPECT_FALSE(c.finished) << "an event after the last one";
    EXPECT_FALSE(out.all_finished) << "an event after the last one of all";
    ++c.events;
    EXPECT_TRUE(is_valid_utf8(event.text));
    c.tokens.insert(c.tokens.end(), event.tokens.begin(), event.tokens.end());
    c.text += event.text;
    for (engine::Sample& sample : event.logprobs) c.logprobs.push_back(std::move(sample));
    if (event.prompt_logprobs) {
      EXPECT_FALSE(out.prompt_logprobs);
      EXPECT_EQ(event.index, 0u);
      EXPECT_EQ(c.events, 1u);
      out.prompt_logprobs = std::move(event.prompt_logprobs);
    }
    EXPECT_EQ(event.usage.completion_tokens, c.tokens.size());
    EXPECT_LE(event.usage.cached_tokens, event.usage.prompt_tokens);
    // The spans cover the output, without gaps.
    std::uint64_t end = 0;
    for (const engine::VersionSpan& span : event.versions) {
      EXPECT_EQ(span.start, end);
      EXPECT_GT(span.end, span.start);
      end = span.end;
    }
    EXPECT_EQ(end, c.tokens.size());
    c.finished = event.finished;
    bool all = true;
    for (const Collected::Continuation& other : out.continuations) all &= other.finished;
    EXPECT_EQ(event.all_finished, all);
    out.all_finished = event.all_finished;
    event.tokens.clear();
    event.text.clear();
    event.logprobs.clear();
    c.last = std::move(event);
  }

  std::shared_ptr<State> state_;
};

// A Collector in another thread's hands, which can be waited for.
class Waiting {
 public:
  explicit Waiting(std::uint64_t n = 1) : collector_(n) {}

  engine::EventSink sink() {
    return [this, take = collector_.sink()](engine::Event event) {
      const std::size_t tokens = event.tokens.size();
      const bool done = event.all_finished;
      take(std::move(event));
      const std::lock_guard lock(mutex_);
      tokens_ += tokens;
      done_ |= done;
      changed_.notify_all();
    };
  }
  void wait_for_tokens(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return tokens_ >= count || done_; });
  }
  Collected wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_; });
    return collector_.get();
  }
  bool done() {
    const std::lock_guard lock(mutex_);
    return done_;
  }

 private:
  Collector collector_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t tokens_ = 0;
  bool done_ = false;
};

}  // namespace octavo::test
