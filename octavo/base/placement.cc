// sched_setaffinity and set_mempolicy.
#include "octavo/base/placement.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "octavo/base/machine.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace octavo {
namespace {

std::optional<std::vector<int>> read_cpu_list(const std::filesystem::path& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return parse_cpu_list(text);
}

#if defined(__linux__)
constexpr int kMostCpus = 1 << 13;  // of a mask

struct CpuSet {
  CpuSet() : bytes(CPU_ALLOC_SIZE(kMostCpus)), set(CPU_ALLOC(kMostCpus)) { CPU_ZERO_S(bytes, set); }
  ~CpuSet() { CPU_FREE(set); }
  CpuSet(const CpuSet&) = delete;
  CpuSet& operator=(const CpuSet&) = delete;
  std::size_t bytes;
  cpu_set_t* set;
};
#endif

}  // namespace

std::vector<int> allowed_cpus() {
  std::vector<int> out;
#if defined(__linux__)
  const CpuSet mask;
  if (sched_getaffinity(0, mask.bytes, mask.set) != 0) return out;
  for (int cpu = 0; cpu < kMostCpus; ++cpu) {
    if (CPU_ISSET_S(static_cast<std::size_t>(cpu), mask.bytes, mask.set)) out.push_back(cpu);
  }
#endif
  return out;
}

Status run_on_cpus(const std::vector<int>& cpus) {
#if defined(__linux__)
  const std::vector<int> before = allowed_cpus();
  const auto set = [](const std::vector<int>& wanted) {
    const CpuSet mask;
    for (const int cpu : wanted) {
      if (cpu >= 0 && cpu < kMostCpus) CPU_SET_S(static_cast<std::size_t>(cpu), mask.bytes, mask.set);
    }
    return sched_setaffinity(0, mask.bytes, mask.set);
  };
  const int error = set(cpus) == 0 ? 0 : errno;
  // The system takes what it can of a list and is silent about the rest; of none of it, it says EINVAL.
  const std::vector<int> now = error == 0 ? allowed_cpus() : std::vector<int>();
  for (const int cpu : cpus) {
    if ((error != 0 && error != EINVAL) || std::binary_search(now.begin(), now.end(), cpu)) continue;
    if (error == 0) set(before);
    return failure("CPU {} does not exist, or this process may not use it; it runs on {}", cpu, cpu_list_text(before));
  }
  if (error == 0) return {};
  return failure("the system does not let this process choose its CPUs: {}", std::strerror(error));
#else
  (void)cpus;
  return failure("choosing CPUs is not possible on this system");
#endif
}

std::vector<int> one_per_core(const std::vector<int>& cpus, int count, const std::filesystem::path& root) {
  const auto wanted = static_cast<std::size_t>(std::max(count, 0));
  std::vector<int> out, later;
  std::set<int> taken;  // siblings of those in `out`
  for (const int cpu : cpus) {
    if (taken.contains(cpu)) {
      later.push_back(cpu);
      continue;
    }
    out.push_back(cpu);
    const auto siblings = read_cpu_list(root / "sys/devices/system/cpu" / ("cpu" + std::to_string(cpu)) /
                                        "topology/thread_siblings_list");
    if (siblings) taken.insert(siblings->begin(), siblings->end());
  }
  out.insert(out.end(), later.begin(), later.end());
  if (out.size() > wanted) out.resize(wanted);
  std::sort(out.begin(), out.end());
  return out;
}

Status interleave_memory(const std::filesystem::path& root) {
  const auto nodes = read_cpu_list(root / "sys/devices/system/node/online");
  if (!nodes || nodes->size() < 2) return failure("this machine has one NUMA node: there is nothing to interleave");
#if defined(__linux__)
  constexpr std::size_t kWord = 8 * sizeof(unsigned long);
  constexpr int kInterleave = 3;  // MPOL_INTERLEAVE of <linux/mempolicy.h>
  std::vector<unsigned long> mask(static_cast<std::size_t>(nodes->back()) / kWord + 1);
  for (const int node : *nodes) {
    const auto n = static_cast<std::size_t>(node);
    mask[n / kWord] |= 1ul << n % kWord;
  }
  // The kernel reads one bit less than it is told.
  if (syscall(SYS_set_mempolicy, kInterleave, mask.data(), mask.size() * kWord + 1) == 0) return {};
  return failure("the system does not let this process place its memory: {}", std::strerror(errno));
#else
  return failure("placing memory is not possible on this system");
#endif
}

}  // namespace octavo
