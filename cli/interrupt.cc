// sigaction with a handler that is used once.
#include "cli/interrupt.h"

#include <csignal>

namespace octavo::cli {
namespace {

// The one state a signal handler can reach.
std::atomic<int> caught{0};
constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
static_assert(std::atomic<int>::is_always_lock_free);

}  // namespace

void catch_interrupts() {
  for (const int signal : kSignals) {
    struct sigaction now {};
    // Who started the process with a signal ignored (nohup) wants it ignored.
    if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = [](int number) { caught.store(number); };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(signal, &action, nullptr);
  }
}

InterruptScope::InterruptScope() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], nullptr, &before_[i]);
  catch_interrupts();
}

InterruptScope::~InterruptScope() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
}

const std::atomic<int>& interrupt_signal() { return caught; }

}  // namespace octavo::cli
