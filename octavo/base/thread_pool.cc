// Spin, then sleep on the atomic itself (a futex).
#include "octavo/base/thread_pool.h"

#include <algorithm>
#include <new>
#include <system_error>

namespace octavo {
namespace {

// Half a millisecond or so: longer than what lies between two operations of a model, a sampled token included. A sleeping
// thread costs its wake-up, 50 microseconds and more on a virtual machine, at every operation that finds it asleep.
constexpr int kSpins = 16384;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns a value other than `old`.
std::uint32_t wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (const std::uint32_t now = value.load(std::memory_order_acquire); now != old) return now;
    pause();
  }
  while (true) {
    value.wait(old, std::memory_order_acquire);
    if (const std::uint32_t now = value.load(std::memory_order_acquire); now != old) return now;
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  const auto wanted = static_cast<std::size_t>(std::max(threads, 1) - 1);
  try {
    workers_.reserve(wanted);
    while (workers_.size() < wanted) {
      workers_.emplace_back([this, worker = static_cast<int>(workers_.size()) + 1] { work(worker); });
    }
  } catch (const std::system_error&) {
    // The system gives no more threads: those there are share the work.
  } catch (const std::bad_alloc&) {
  }
  threads_ = static_cast<std::uint32_t>(this->threads());
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_parts(const Job& job) {
  job_ = job;
  const auto tasks = static_cast<std::uint32_t>(job.tasks);
  done_.store(0, std::memory_order_relaxed);
  const std::uint32_t generation = generation_.load(std::memory_order_relaxed) + 1;
  ticket_.store(std::uint64_t{generation} << 32 | tasks, std::memory_order_release);
  generation_.store(generation, std::memory_order_release);
  generation_.notify_all();
  claim_parts(generation, 0);
  for (std::uint32_t done = done_.load(std::memory_order_acquire); done != tasks;) done = wait_for_change(done_, done);
}

void ThreadPool::claim_parts(std::uint64_t generation, int worker) {
  std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (true) {
    const auto left = static_cast<std::uint32_t>(ticket);
    if (ticket >> 32 != generation || left == 0) return;
    // Large parts first, small ones last, so that all end at about the same time.
    const std::uint32_t count = std::max(left / (2 * threads_), 1u);
    if (!ticket_.compare_exchange_weak(ticket, ticket - count, std::memory_order_acquire)) continue;
    const std::size_t begin = job_.tasks - left;
    job_.part(job_.context, begin, begin + count, worker);
    const std::uint32_t tasks = static_cast<std::uint32_t>(job_.tasks);
    if (done_.fetch_add(count, std::memory_order_acq_rel) + count == tasks) done_.notify_one();
    ticket = ticket_.load(std::memory_order_acquire);
  }
}

void ThreadPool::work(int worker) {
  for (std::uint32_t seen = 0;;) {
    seen = wait_for_change(generation_, seen);
    if (stop_.load(std::memory_order_relaxed)) return;
    claim_parts(seen, worker);
  }
}

}  // namespace octavo
