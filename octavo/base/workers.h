// Threads for independent pieces of work.
#pragma once

#include <atomic>
#include <functional>

#include "octavo/base/status.h"

namespace octavo {

// Threads to use for `requested` (0 = one a hardware thread that this process may run on).
int worker_count(int requested);

// Runs body(worker) for worker = 0 .. threads-1, each in its own thread (the last in the caller's), and joins. Where
// the system refuses a thread, the caller's runs the remaining bodies in turn, so workers must not wait for later ones.
// Returns the error of the lowest worker that failed; `body` should look at a shared stop flag to end early.
Status run_workers(int threads, const std::function<Status(int worker)>& body);

// Runs body(i) for every i in [0, count), claimed in order by `threads` workers. After an error no further index is
// claimed. The error of the lowest failing index is returned, which does not depend on the number of threads.
Status for_each_index(int threads, std::size_t count, const std::function<Status(std::size_t index, int worker)>& body);

}  // namespace octavo
