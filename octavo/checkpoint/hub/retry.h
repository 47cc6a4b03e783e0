// When to try again, and when to give up.
#pragma once

#include <chrono>
#include <optional>
#include <random>
#include <string_view>

#include "octavo/base/status.h"
#include "octavo/checkpoint/hub/options.h"

namespace octavo::hub {

inline Error interrupted_error() { return {ErrorKind::kInterrupted, "stopped"}; }

// For one thread's piece of work.
class Retrier {
 public:
  // All must outlive it; `warn` is told of long waits.
  Retrier(const RetryPolicy& policy, const std::function<bool()>& cancelled,
          std::function<void(std::string_view)> warn = {});

  // After an attempt that failed by `problem`, which becomes the error once enough attempts in a row brought nothing.
  // Otherwise waits: as long as the server asked for, or the policy's time. Ends early, as interrupted, when cancelled.
  Status wait(std::string_view problem, std::optional<std::chrono::seconds> asked);
  // The attempt brought something: earlier failures no longer count.
  void progressed() { failures_ = 0; }

 private:
  const RetryPolicy& policy_;
  const std::function<bool()>& cancelled_;
  std::function<void(std::string_view)> warn_;
  std::minstd_rand random_;
  int failures_ = 0;
};

}  // namespace octavo::hub
