// Spin, then sleep on the atomic itself (a futex).
#include "octavo/base/thread_pool.h"

#include <algorithm>
#include <new>
#include <system_error>

namespace octavo {
namespace {

// About ten microseconds: longer than the gaps between the operations of one token, short beside a scheduler's slice.
constexpr int kSpins = 256;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns a value other than `old`.
int wait_for_change(const std::atomic<int>& value, int old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (const int now = value.load(std::memory_order_acquire); now != old) return now;
    pause();
  }
  while (true) {
    value.wait(old, std::memory_order_acquire);
    if (const int now = value.load(std::memory_order_acquire); now != old) return now;
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
  threads_ = this->threads();
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_parts(const Job& job) {
  job_ = job;
  unfinished_.store(threads_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  do_part(0);
  for (int left = unfinished_.load(std::memory_order_acquire); left != 0;) left = wait_for_change(unfinished_, left);
}

void ThreadPool::do_part(int worker) const {
  const auto parts = static_cast<std::size_t>(threads_);
  const auto index = static_cast<std::size_t>(worker);
  // tasks * index / parts without overflow.
  const auto begin_of = [&](std::size_t i) { return job_.tasks / parts * i + job_.tasks % parts * i / parts; };
  if (begin_of(index) < begin_of(index + 1)) job_.part(job_.context, begin_of(index), begin_of(index + 1), worker);
}

void ThreadPool::work(int worker) {
  for (int seen = 0;;) {
    seen = wait_for_change(generation_, seen);
    if (stop_.load(std::memory_order_relaxed)) return;
    do_part(worker);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

}  // namespace octavo
