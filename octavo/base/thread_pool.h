// Threads that stay, for work of microseconds: the pieces of one matrix product. Long work: octavo/base/workers.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace octavo {

// Workers that wait for the next run: spinning for some microseconds, then asleep. run() is called by one thread at a
// time and not from within a body.
class ThreadPool {
 public:
  // `threads` >= 1, the caller's among them. Where the system refuses a thread the pool goes on with fewer.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(std::size_t index, int worker) for every index in [0, tasks) and returns when all are done. Worker w of
  // W gets the indices [tasks * w / W, tasks * (w + 1) / W) in order; worker 0 is the caller. What happened before
  // run() is visible to the bodies, and what they did to who called run(). Bodies must not throw.
  template <typename Body>
  void run(std::size_t tasks, const Body& body) {
    const auto part = [](const void* context, std::size_t begin, std::size_t end, int worker) {
      const Body& call = *static_cast<const Body*>(context);
      for (std::size_t index = begin; index < end; ++index) call(index, worker);
    };
    if (workers_.empty() || tasks <= 1) return part(&body, 0, tasks, 0);
    run_parts({part, &body, tasks});
  }

 private:
  struct Job {
    void (*part)(const void* context, std::size_t begin, std::size_t end, int worker) = nullptr;
    const void* context = nullptr;
    std::size_t tasks = 0;
  };
  void run_parts(const Job& job);
  void do_part(int worker) const;
  void work(int worker);

  Job job_;
  // On lines of their own: workers look at the one while others count down the other.
  alignas(64) std::atomic<int> generation_{0};  // a run, or the end, adds one
  alignas(64) std::atomic<int> unfinished_{0};  // workers that have not done their part of this run
  std::atomic<bool> stop_{false};
  int threads_ = 1;  // fixed before the first run
  std::vector<std::thread> workers_;
};

}  // namespace octavo
