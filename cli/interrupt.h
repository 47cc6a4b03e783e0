// Ctrl-C and SIGTERM as a request to stop cleanly; a second one ends the process at once.
#pragma once

#include <atomic>

namespace octavo::cli {

// From now on the first SIGINT, SIGTERM or SIGHUP only sets interrupt_signal().
void catch_interrupts();
const std::atomic<int>& interrupt_signal();  // 0: none came

}  // namespace octavo::cli
