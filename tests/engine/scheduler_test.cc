// The scheduler alone: its rules one by one, and thousands of random schedules against what must always hold.
#include "octavo/engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>

#include "tests/support/random_tensor.h"

namespace octavo::engine {
namespace {

// A sequence with what its owner knows: how many tokens it will have.
struct Simulated : Sequence {
  std::uint64_t prompt = 0, length = 0;
};

// The engine's part, without a model: makes tokens, ends sequences, and checks every plan.
class Simulation {
 public:
  Simulation(const SchedulerOptions& options, std::uint64_t count)
      : options_(options), blocks(count), scheduler(options, blocks) {}

  Simulated& add(std::uint64_t prompt, std::uint64_t output, int priority = 0, std::uint64_t n = 1,
                 std::int32_t first_token = -1) {
    Simulated* out = nullptr;
    for (std::uint64_t i = 0; i < n; ++i) {
      auto s = std::make_unique<Simulated>();
      s->priority = priority;
      s->arrival = arrivals_;
      s->index = i;
      s->prompt = prompt;
      s->length = prompt + output;
      // By default a prompt like no other.
      const std::int32_t first = first_token >= 0 ? first_token : static_cast<std::int32_t>(1000 * (arrivals_ + 1));
      for (std::uint64_t t = 0; t < prompt; ++t) s->tokens.push_back(first + static_cast<std::int32_t>(t % 100));
      scheduler.add(*s);
      if (i == 0) out = s.get();
      alive.push_back(std::move(s));
    }
    ++arrivals_;
    return *out;
  }

  // One step; every rule of CONTRACT.md that a plan alone can show is checked.
  const StepPlan& step() {
    std::vector<Sequence*> decodes, waiting;
    std::map<const Sequence*, std::uint64_t> computed;
    for (const auto& s : alive) {
      computed[s.get()] = s->state == SequenceState::kRunning ? s->computed : 0;
      if (s->state == SequenceState::kRunning && s->missing() == 1) decodes.push_back(s.get());
      if (s->state == SequenceState::kWaiting) waiting.push_back(s.get());
    }
    const StepPlan& plan = scheduler.plan();
    ++steps;
    EXPECT_LE(plan.tokens, options_.max_num_batched_tokens);
    EXPECT_LE(scheduler.running(), options_.max_num_seqs);
    std::uint64_t tokens = 0;
    bool prefill = false;
    for (const Slice& slice : plan.slices) {
      const Sequence& s = *slice.sequence;
      EXPECT_EQ(s.state, SequenceState::kRunning);
      EXPECT_GT(slice.count, 0u);
      const bool decode = std::find(decodes.begin(), decodes.end(), &s) != decodes.end();
      EXPECT_TRUE(!decode || !prefill) << "a decode after a prompt";
      prefill |= !decode;
      EXPECT_TRUE(computed[&s] == 0 || slice.begin == computed[&s]);
      EXPECT_EQ(slice.begin + slice.count, s.computed);
      EXPECT_LE(s.computed, s.tokens.size());
      EXPECT_GE(s.chain.blocks.size() * kKvBlockTokens, s.tokens.size());
      tokens += slice.count;
    }
    EXPECT_EQ(tokens, plan.tokens);
    for (Sequence* s : decodes) {
      const bool planned =
          std::any_of(plan.slices.begin(), plan.slices.end(), [&](auto& x) { return x.sequence == s; });
      EXPECT_TRUE(planned || s->state == SequenceState::kWaiting) << "a decode was left out";
    }
    EXPECT_TRUE(plan.preempted.empty() || plan.admitted.empty());
    check_blocks();
    for (const Slice& slice : plan.slices) {
      auto& s = static_cast<Simulated&>(*slice.sequence);
      if (s.missing() > 0) continue;
      s.tokens.push_back(static_cast<std::int32_t>(s.tokens.size() * 31 + s.arrival * 7 + s.index) % 50000);
      if (s.tokens.size() >= s.length) end(s);
    }
    return plan;
  }

  void end(Simulated& s) {
    scheduler.remove(s);
    const auto at = std::find_if(alive.begin(), alive.end(), [&](auto& x) { return x.get() == &s; });
    done.push_back(std::move(*at));
    alive.erase(at);
  }

  void check_blocks() {
    std::vector<const BlockChain*> chains;
    for (const auto& s : alive) chains.push_back(&s->chain);
    const Status status = blocks.check(chains);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    EXPECT_EQ(scheduler.running() + scheduler.waiting(), alive.size());
  }

  // Until all have ended; a schedule that does not end fails.
  void run(std::uint64_t most = 100'000) {
    while (!alive.empty() && steps < most && !testing::Test::HasFailure()) {
      if (step().slices.empty()) {
        ADD_FAILURE() << "nothing is planned, but " << alive.size() << " sequences are not done";
        return;
      }
    }
    EXPECT_TRUE(alive.empty());
    EXPECT_EQ(blocks.free(), blocks.total());
  }

  const SchedulerOptions options_;
  BlockManager blocks;
  Scheduler scheduler;
  std::deque<std::unique_ptr<Simulated>> alive;
  std::vector<std::unique_ptr<Simulated>> done;  // in the order of their ends
  std::uint64_t steps = 0;

 private:
  std::uint64_t arrivals_ = 0;
};

// {arrival, begin, count} of each slice.
std::vector<std::vector<std::uint64_t>> shape(const StepPlan& plan) {
  std::vector<std::vector<std::uint64_t>> out;
  for (const Slice& s : plan.slices) out.push_back({s.sequence->arrival, s.begin, s.count});
  return out;
}
using Shape = std::vector<std::vector<std::uint64_t>>;

TEST(Scheduler, BudgetAndOrder) {
  Simulation sim({.max_num_batched_tokens = 32, .max_num_seqs = 3}, 100);
  sim.add(20, 10);
  sim.add(50, 10);
  sim.add(3, 10);
  sim.add(3, 10);
  EXPECT_EQ(shape(sim.step()), (Shape{{0, 0, 20}, {1, 0, 12}}));
  // The decode first, then the prompt that has begun; a third seat, but no token is left for it.
  EXPECT_EQ(shape(sim.step()), (Shape{{0, 20, 1}, {1, 12, 31}}));
  EXPECT_EQ(shape(sim.step()), (Shape{{0, 21, 1}, {1, 43, 7}, {2, 0, 3}}));
  // No seat is free.
  EXPECT_EQ(shape(sim.step()), (Shape{{0, 22, 1}, {1, 50, 1}, {2, 3, 1}}));
  EXPECT_EQ(sim.scheduler.waiting(), 1u);
  sim.run();
}

TEST(Scheduler, QueueOrder) {
  Simulation sim({.max_num_batched_tokens = 64, .max_num_seqs = 1}, 100);
  sim.add(4, 2, 1);
  sim.add(4, 2, 0);
  sim.add(4, 2, -5);
  sim.add(4, 2, 1);
  sim.add(4, 2, 0);
  sim.run();
  std::vector<std::uint64_t> order;
  for (const auto& s : sim.done) order.push_back(s->arrival);
  EXPECT_EQ(order, (std::vector<std::uint64_t>{2, 1, 4, 0, 3}));
}

TEST(Scheduler, HeadIsNotSkipped) {
  Simulation sim({.max_num_batched_tokens = 256, .max_num_seqs = 8}, 8);
  sim.add(64, 8);   // four blocks and more
  sim.add(100, 8);  // seven: must wait
  Simulated& small = sim.add(4, 2);
  for (int i = 0; i < 5; ++i) {
    sim.step();
    EXPECT_EQ(small.state, SequenceState::kWaiting);  // it would fit
  }
  sim.run();
}

TEST(Scheduler, AdmissionLeavesRoom) {
  Simulation sim({.max_num_batched_tokens = 256, .max_num_seqs = 8}, 5);
  Simulated& first = sim.add(32, 30);
  Simulated& second = sim.add(48, 2);  // three blocks are free, but one is for the first to go on in
  sim.step();
  EXPECT_EQ(first.state, SequenceState::kRunning);
  EXPECT_EQ(second.state, SequenceState::kWaiting);
  Simulation other({.max_num_batched_tokens = 256, .max_num_seqs = 8}, 6);
  other.add(32, 30);
  Simulated& fits = other.add(48, 2);
  other.step();
  EXPECT_EQ(fits.state, SequenceState::kRunning);
  sim.run();
  other.run();
}

TEST(Scheduler, Preemption) {
  // Two prompts of two blocks in five: both want a third and a fourth.
  Simulation sim({.max_num_batched_tokens = 64, .max_num_seqs = 4}, 5);
  Simulated& first = sim.add(32, 40);
  Simulated& second = sim.add(20, 40);
  Simulated& third = sim.add(10, 5);
  std::uint64_t preempted = 0;
  while (second.preemptions == 0 && !testing::Test::HasFailure()) preempted += sim.step().preempted.size();
  EXPECT_EQ(first.preemptions, 0u);
  EXPECT_EQ(second.state, SequenceState::kWaiting);
  EXPECT_EQ(second.computed, 0u);
  EXPECT_TRUE(second.chain.blocks.empty());
  EXPECT_GT(second.tokens.size(), 20u);  // its tokens stay
  // Before the third, which came later.
  sim.run();
  EXPECT_EQ(sim.done.at(0).get(), &first);
  EXPECT_GE(preempted, 1u);
  static_cast<void>(third);
}

TEST(Scheduler, TheLowestPriorityIsPreempted) {
  Simulation sim({.max_num_batched_tokens = 64, .max_num_seqs = 4}, 6);
  Simulated& low = sim.add(20, 60, 5);
  sim.step();
  Simulated& high = sim.add(20, 60, 0);
  while (low.preemptions == 0 && high.preemptions == 0 && !testing::Test::HasFailure()) sim.step();
  EXPECT_EQ(low.preemptions, 1u);
  EXPECT_EQ(high.preemptions, 0u);
  sim.run();
  EXPECT_EQ(sim.done.at(0).get(), &high);
}

TEST(Scheduler, ContinuationsShareInTheStepThatComputes) {
  Simulation sim({.max_num_batched_tokens = 64, .max_num_seqs = 8}, 40);
  sim.add(50, 4, 0, /*n=*/3);
  const StepPlan& plan = sim.scheduler.plan();
  // 50 tokens once, and the two after its third block for each of the others.
  ASSERT_EQ(plan.slices.size(), 3u);
  EXPECT_EQ(plan.slices[0].count, 50u);
  EXPECT_EQ(plan.slices[1].begin, 48u);
  EXPECT_EQ(plan.slices[2].count, 2u);
  EXPECT_EQ(sim.blocks.used(), 3u + 3u);
  EXPECT_EQ(sim.scheduler.prefix_queries(), 150u);
  EXPECT_EQ(sim.scheduler.prefix_hits(), 96u);
}

TEST(Scheduler, TheLastTokenAndWantedRowsAreComputed) {
  Simulation sim({.max_num_batched_tokens = 64, .max_num_seqs = 8}, 40);
  sim.add(48, 1, 0, 1, 5);
  sim.step();
  sim.add(48, 1, 0, 1, 5);
  EXPECT_EQ(shape(sim.step()), (Shape{{1, 32, 16}}));
  Simulated& scored = sim.add(48, 1, 0, 1, 5);
  scored.first_row = 20;
  EXPECT_EQ(shape(sim.step()), (Shape{{2, 16, 32}}));
}

TEST(Scheduler, HoldKeepsNewOnesBack) {
  Simulation sim({.max_num_batched_tokens = 64, .max_num_seqs = 8}, 40);
  Simulated& old = sim.add(10, 6, 1);
  Simulated& queued = sim.add(10, 6, 1);
  sim.scheduler.hold_from(2);
  Simulated& fresh = sim.add(10, 6, 0);
  sim.step();
  EXPECT_EQ(old.state, SequenceState::kRunning);
  EXPECT_EQ(queued.state, SequenceState::kRunning);
  EXPECT_EQ(fresh.state, SequenceState::kWaiting);
  while (sim.alive.size() > 1) sim.step();
  EXPECT_FALSE(sim.scheduler.has_work());
  EXPECT_TRUE(sim.step().slices.empty());
  sim.scheduler.release_hold();
  EXPECT_TRUE(sim.scheduler.has_work());
  sim.run();
}

TEST(Scheduler, RetractionStartsAgain) {
  Simulation sim({.max_num_batched_tokens = 16, .max_num_seqs = 8}, 40);
  Simulated& decoding = sim.add(10, 20);
  sim.step();
  Simulated& reading = sim.add(60, 6);
  sim.step();
  sim.scheduler.retract_all();
  EXPECT_EQ(sim.scheduler.waiting(), 2u);
  EXPECT_EQ(sim.blocks.used(), 0u);
  sim.blocks.reset();
  EXPECT_EQ(shape(sim.step()), (Shape{{0, 0, 12}, {1, 0, 4}}));
  EXPECT_EQ(decoding.preemptions + reading.preemptions, 2u);
  sim.run();
}

TEST(Scheduler, NobodyStarves) {
  constexpr std::uint64_t kMost = 10;
  Simulation sim({.max_num_batched_tokens = 32, .max_num_seqs = 2, .max_overtakes = kMost}, 40);
  Simulated& low = sim.add(30, 5, 9);
  Simulated& lower = sim.add(30, 5, 10);
  // A flood that never ends, until the two have got through.
  std::map<const Sequence*, std::uint64_t> overtaken;
  for (std::uint64_t i = 0; i < 400 && !testing::Test::HasFailure(); ++i) {
    while (sim.scheduler.waiting() < 6) sim.add(8, 3, 0);
    for (const Sequence* s : sim.step().admitted) {
      for (const auto& waiting : sim.alive) {
        if (waiting->state == SequenceState::kWaiting && waiting->arrival < s->arrival) ++overtaken[waiting.get()];
      }
    }
    if (std::count_if(sim.done.begin(), sim.done.end(), [](auto& s) { return s->priority > 0; }) == 2) break;
  }
  EXPECT_EQ(low.state, SequenceState::kFinished);
  EXPECT_EQ(lower.state, SequenceState::kFinished);
  EXPECT_TRUE(low.overdue);
  for (const auto& [s, count] : overtaken) EXPECT_LE(count, kMost);
  sim.run();
}

// Arrivals at random, of random lengths and priorities, prefixes shared or not, aborts and retractions in between, in
// a cache that is hardly large enough.
void random_schedule(std::uint64_t seed, std::uint64_t& preemptions, std::uint64_t& hits) {
  test::Random random(seed);
  const std::uint64_t seats = 1 + random.below(6);
  const std::uint64_t longest = 20 + random.below(100);
  const std::uint64_t overtakes = 1 + random.below(20);
  Simulation sim(
      {.max_num_batched_tokens = seats + random.below(60), .max_num_seqs = seats, .max_overtakes = overtakes},
      kv_blocks_for(longest) + random.below(8));
  std::map<const Sequence*, std::uint64_t> overtaken;
  std::uint64_t to_come = 40;
  while ((to_come > 0 || !sim.alive.empty()) && sim.steps < 20'000 && !testing::Test::HasFailure()) {
    while (to_come > 0 && (sim.alive.empty() || random.below(3) == 0)) {
      --to_come;
      const std::uint64_t prompt = 1 + random.below(longest - 1);
      const std::uint64_t output = 1 + random.below(longest - prompt);
      const std::int32_t family = random.below(2) == 0 ? static_cast<std::int32_t>(random.below(3)) : -1;
      sim.add(prompt, output, static_cast<int>(random.below(4)), 1 + (random.below(6) == 0 ? random.below(4) : 0),
              family);
    }
    if (random.below(30) == 0) sim.end(*sim.alive[random.below(sim.alive.size())]);  // aborted, in any state
    if (random.below(60) == 0) sim.scheduler.retract_all();
    if (random.below(60) == 0) sim.blocks.reset();
    if (sim.alive.empty()) continue;
    std::vector<Simulated*> waited;
    for (const auto& s : sim.alive) {
      if (s->state == SequenceState::kWaiting) waited.push_back(s.get());
    }
    const StepPlan& plan = sim.step();
    if (plan.slices.empty()) ADD_FAILURE() << "nothing is planned";
    preemptions += plan.preempted.size();
    for (const Sequence* s : plan.admitted) {
      for (const Simulated* w : waited) {
        if (w->state == SequenceState::kWaiting && w->arrival < s->arrival) ++overtaken[w];
      }
    }
  }
  EXPECT_TRUE(sim.alive.empty());
  EXPECT_EQ(sim.blocks.free(), sim.blocks.total());
  for (const auto& [s, count] : overtaken) EXPECT_LE(count, overtakes);
  hits += sim.scheduler.prefix_hits();
}

TEST(Scheduler, RandomSchedules) {
  std::uint64_t preemptions = 0, hits = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    SCOPED_TRACE(seed);
    random_schedule(seed, preemptions, hits);
    if (HasFailure()) return;
  }
  EXPECT_GT(preemptions, 1000u);
  EXPECT_GT(hits, 10'000u);
}

}  // namespace
}  // namespace octavo::engine
