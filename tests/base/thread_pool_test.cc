// The pool: every index once, visible results, many short runs, sleeping
// workers, several pools at a time. Under TSan this is the test of its memory order.
#include "octavo/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

namespace octavo {
namespace {

TEST(ThreadPool, EveryIndexOnce) {
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.threads(), threads);
    for (const std::size_t tasks : {0u, 1u, 2u, 3u, 4u, 7u, 64u, 1001u}) {
      std::vector<int> runs(tasks, 0), workers(tasks, -1);
      pool.run(tasks, [&](std::size_t index, int worker) {
        ++runs[index];  // not atomic: two workers with the same index would be a race
        workers[index] = worker;
      });
      for (std::size_t i = 0; i < tasks; ++i) {
        EXPECT_EQ(runs[i], 1);
        EXPECT_GE(workers[i], 0);
        EXPECT_LT(workers[i], threads);
      }
    }
  }
}

TEST(ThreadPool, AtLeastTheCaller) {
  ThreadPool pool(0);
  EXPECT_EQ(pool.threads(), 1);
  int calls = 0;
  pool.run(3, [&](std::size_t, int) { ++calls; });
  EXPECT_EQ(calls, 3);
}

TEST(ThreadPool, EachRunSeesTheOneBefore) {
  // A value is handed from run to run through plain memory, by another worker each time.
  for (const int threads : {2, 3, 5}) {
    ThreadPool pool(threads);
    const auto count = static_cast<std::size_t>(threads);
    std::vector<std::size_t> values(count, 0), next(count);
    for (int round = 0; round < 2000; ++round) {
      pool.run(count, [&](std::size_t i, int) { next[i] = values[(i + 1) % count] + i; });
      pool.run(count, [&](std::size_t i, int) { values[i] = next[i]; });
    }
    EXPECT_EQ(std::accumulate(values.begin(), values.end(), std::size_t{0}), 2000 * count * (count - 1) / 2);
  }
}

TEST(ThreadPool, WakesSleepers) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // far beyond the spinning
    std::vector<int> seen(30, 0);
    pool.run(seen.size(), [&](std::size_t i, int) { seen[i] = round + 1; });
    EXPECT_EQ(seen, std::vector<int>(30, round + 1));
  }
}

TEST(ThreadPool, TheCallerSleepsUntilTheSlowestIsDone) {
  ThreadPool pool(2);
  std::atomic<bool> entered{false};
  bool done = false;
  while (!entered) {  // until the other worker is there in time for a claim
    pool.run(2, [&](std::size_t, int worker) {
      if (worker == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      entered = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      done = true;
    });
  }
  EXPECT_TRUE(done);
}

TEST(ThreadPool, OthersTakeTheWorkOfOneThatIsHeldUp) {
  // One task blocks until all others are done: they must not wait behind it.
  ThreadPool pool(3);
  constexpr std::size_t kTasks = 100;
  std::atomic<std::size_t> others{0};
  std::atomic<bool> blocked{false};
  pool.run(kTasks, [&](std::size_t, int worker) {
    if (worker == 1 && !blocked.exchange(true)) {
      // What this worker claimed with this task stays its own: at most a sixth.
      while (others < kTasks - 1 - kTasks / 6) std::this_thread::yield();
      return;
    }
    ++others;
  });
  EXPECT_GE(others, kTasks - 1);
}

TEST(ThreadPool, SeveralPoolsAtOnce) {
  std::vector<std::thread> callers;
  std::vector<std::size_t> sums(3, 0);
  for (std::size_t caller = 0; caller < sums.size(); ++caller) {
    callers.emplace_back([&, caller] {
      ThreadPool pool(2);
      std::vector<std::size_t> values(100);
      for (std::size_t round = 0; round < 200; ++round) {
        pool.run(values.size(), [&](std::size_t i, int) { values[i] += i; });
      }
      sums[caller] = std::accumulate(values.begin(), values.end(), std::size_t{0});
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::size_t sum : sums) EXPECT_EQ(sum, 200u * 4950u);
}

TEST(ThreadPool, EndsWithoutARun) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace octavo
