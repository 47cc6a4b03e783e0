// Plain threads: the work is long, so starting them costs nothing that matters.
#include "octavo/base/workers.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "octavo/base/placement.h"

namespace octavo {
namespace {

// An exception that left a thread would end the process.
template <typename Work>
Status guarded(const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return failure("out of memory");
  }
}

}  // namespace

int worker_count(int requested) {
  if (requested > 0) return requested;
  const std::size_t allowed = allowed_cpus().size();  // which hardware_concurrency() does not ask
  return std::max(1, static_cast<int>(allowed > 0 ? allowed : std::thread::hardware_concurrency()));
}

Status run_workers(int threads, const std::function<Status(int worker)>& body) {
  std::vector<std::optional<Error>> errors(static_cast<std::size_t>(threads));
  const auto run = [&](int worker) {
    Status status = guarded([&] { return body(worker); });
    if (!status.ok()) errors[static_cast<std::size_t>(worker)] = std::move(status).error();
  };
  std::vector<std::thread> pool;
  pool.reserve(static_cast<std::size_t>(threads));
  int worker = 0;
  try {
    for (; worker + 1 < threads; ++worker) pool.emplace_back(run, worker);
  } catch (const std::system_error&) {
    // The system gives no more threads: the caller's does the work of the others, one after the other.
  }
  for (; worker < threads; ++worker) run(worker);
  for (std::thread& thread : pool) thread.join();
  for (auto& error : errors) {
    if (error) return std::move(*error);
  }
  return {};
}

Status for_each_index(int threads, std::size_t count,
                      const std::function<Status(std::size_t index, int worker)>& body) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::optional<Error> error;
  std::size_t error_index = count;
  const std::size_t used = std::clamp<std::size_t>(count, 1, static_cast<std::size_t>(threads));
  OCTAVO_TRY(run_workers(static_cast<int>(used), [&](int worker) -> Status {
    while (!stop.load(std::memory_order_relaxed)) {
      const std::size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= count) break;
      Status status = guarded([&] { return body(index, worker); });
      if (status.ok()) continue;
      stop = true;
      const std::lock_guard lock(mutex);
      if (index < error_index) {
        error_index = index;
        error = std::move(status).error();
      }
    }
    return {};
  }));
  if (error) return std::move(*error);
  return {};
}

}  // namespace octavo
