// Ctrl-C and SIGTERM as a request to stop cleanly; a second one ends the process at once.
#pragma once

#include <signal.h>

#include <array>
#include <atomic>

namespace octavo::cli {

// From now on the first SIGINT, SIGTERM or SIGHUP only sets interrupt_signal().
void catch_interrupts();
const std::atomic<int>& interrupt_signal();  // 0: none came

// catch_interrupts() for as long as it lives; then the signals do what they did before.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  std::array<struct sigaction, 3> before_{};
};

}  // namespace octavo::cli
