// Threads that stay, for work of microseconds: the pieces of one matrix product. Long work: octavo/base/workers.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace octavo {

// Workers that wait for the next run: spinning for some hundred microseconds, then asleep. run() is called by one thread at a
// time and not from within a body. Tasks are claimed, not assigned: a worker that the system has put aside, on a
// machine with other work, delays nothing but the tasks it is in the middle of.
class ThreadPool {
 public:
  // `threads` >= 1, the caller's among them. Where the system refuses a thread the pool goes on with fewer.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(std::size_t index, int worker) for every index in [0, tasks), in runs of neighbours claimed in order,
  // and returns when all are done. Worker 0 is the caller; which worker gets which index is not defined. What happened
  // before run() is visible to the bodies, and what they did to who called run(). Bodies must not throw.
  template <typename Body>
  void run(std::size_t tasks, const Body& body) {
    const auto part = [](const void* context, std::size_t begin, std::size_t end, int worker) {
      const Body& call = *static_cast<const Body*>(context);
      for (std::size_t index = begin; index < end; ++index) call(index, worker);
    };
    if (workers_.empty() || tasks <= 1 || tasks > kMostTasks) return part(&body, 0, tasks, 0);
    run_parts({part, &body, tasks});
  }

 private:
  struct Job {
    void (*part)(const void* context, std::size_t begin, std::size_t end, int worker) = nullptr;
    const void* context = nullptr;
    std::size_t tasks = 0;
  };
  static constexpr std::size_t kMostTasks = 0xFFFFFFFF;  // more are the caller's alone: nobody has them

  void run_parts(const Job& job);
  void claim_parts(std::uint64_t generation, int worker);
  void work(int worker);

  // Written between runs; read by a worker only while it holds a claim, when no run can end.
  Job job_;
  // The run's number in the upper half, its unclaimed tasks in the lower: a claim of an ended run cannot succeed. On a
  // line of its own, as workers look at the one while others count up the other.
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  alignas(64) std::atomic<std::uint32_t> done_{0};        // tasks of this run
  alignas(64) std::atomic<std::uint32_t> generation_{0};  // of the current run; the end adds one too
  std::atomic<bool> stop_{false};
  std::uint32_t threads_ = 1;  // fixed before the first run
  std::vector<std::thread> workers_;
};

}  // namespace octavo
