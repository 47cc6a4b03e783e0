// On which processors threads run, and on which nodes memory lies. Linux; elsewhere every request is refused.
#pragma once

#include <filesystem>
#include <vector>

#include "octavo/base/status.h"

namespace octavo {

// Processors that the calling thread may run on, sorted; empty where the system does not say.
std::vector<int> allowed_cpus();

// The calling thread, and every thread it makes from now on, runs on `cpus` alone. A failure names the one that does
// not exist or is not allowed.
Status run_on_cpus(const std::vector<int>& cpus);

// `count` of `cpus`, one a core before a second of the same core is taken, in their order; all of them where there are
// fewer. `root` as in machine.h.
std::vector<int> one_per_core(const std::vector<int>& cpus, int count, const std::filesystem::path& root = "/");

// Memory that the calling thread, and the threads it makes from now on, are the first to touch is spread page by page
// over all NUMA nodes, instead of lying at the toucher's. A failure on a machine with one node, or where the system
// forbids it (containers often do).
Status interleave_memory(const std::filesystem::path& root = "/");

}  // namespace octavo
