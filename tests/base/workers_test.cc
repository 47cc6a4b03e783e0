// Threads: every index once, the error of the lowest index whatever the number of threads, no exception gets out.
#include "octavo/base/workers.h"

#include <gtest/gtest.h>

#include <new>
#include <thread>
#include <vector>

namespace octavo {
namespace {

TEST(Workers, Count) {
  EXPECT_EQ(worker_count(3), 3);
  EXPECT_GE(worker_count(0), 1);
}

TEST(Workers, EachWorkerRunsOnce) {
  std::vector<std::atomic<int>> runs(8);
  ASSERT_TRUE(run_workers(8, [&](int worker) -> Status {
                ++runs[static_cast<std::size_t>(worker)];
                return {};
              }).ok());
  for (const auto& count : runs) EXPECT_EQ(count.load(), 1);
}

TEST(Workers, TheLowestWorkersErrorIsReturned) {
  const Status status = run_workers(6, [](int worker) -> Status {
    if (worker < 2) return {};
    return failure("worker {}", worker);
  });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "worker 2");
}

TEST(Workers, EveryIndexOnceWhateverTheThreads) {
  for (const int threads : {1, 2, 7, 32}) {
    for (const std::size_t count : {0u, 1u, 2u, 1000u}) {
      std::vector<std::atomic<int>> seen(count);
      std::atomic<bool> in_range{true};
      ASSERT_TRUE(for_each_index(threads, count, [&](std::size_t i, int worker) -> Status {
                    ++seen[i];
                    if (worker < 0 || worker >= threads) in_range = false;
                    return {};
                  }).ok());
      for (const auto& s : seen) EXPECT_EQ(s.load(), 1);
      EXPECT_TRUE(in_range);
    }
  }
}

TEST(Workers, TheLowestIndexsErrorWhateverTheThreads) {
  for (const int threads : {1, 2, 3, 8, 32}) {
    for (int round = 0; round < 20; ++round) {
      const Status status = for_each_index(threads, 500, [&](std::size_t i, int) -> Status {
        // The lowest failing index is the slowest, so that a race would show.
        if (i == 37) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        if (i >= 37 && i % 3 == 1) return failure("index {}", i);
        return {};
      });
      ASSERT_FALSE(status.ok());
      EXPECT_EQ(status.error().message, "index 37") << threads << " threads";
    }
  }
}

TEST(Workers, NoFurtherIndexAfterAnError) {
  std::atomic<std::size_t> ran{0};
  const Status status = for_each_index(1, 1000, [&](std::size_t i, int) -> Status {
    ++ran;
    if (i == 10) return failure("stop");
    return {};
  });
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(ran.load(), 11u);
}

TEST(Workers, OutOfMemoryIsAnError) {
  for (const int threads : {1, 4}) {
    const Status status = for_each_index(threads, 100, [](std::size_t i, int) -> Status {
      if (i == 50) throw std::bad_alloc();
      return {};
    });
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().message, "out of memory");
  }
}

}  // namespace
}  // namespace octavo
