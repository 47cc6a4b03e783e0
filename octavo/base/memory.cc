// Reads /proc and the control group's limits.
#include "octavo/base/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace octavo {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

// The value of a line "Key:   123 kB", in bytes.
std::optional<std::uint64_t> read_kib(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t first = line.find_first_of("0123456789", key.size());
    std::uint64_t value = 0;
    if (first == line.npos) return std::nullopt;
    std::from_chars(line.data() + first, line.data() + line.size(), value);
    return value * 1024;
  }
  return std::nullopt;
}

// A file that holds one number; "max" is no limit.
std::optional<std::uint64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// What the control group (version 2) of this process still allows. Page cache it holds is given back on demand, so
// only what cannot be reclaimed counts as used.
std::uint64_t group_available() {
  std::ifstream self("/proc/self/cgroup");
  std::uint64_t least = kUnlimited;
  for (std::string line; std::getline(self, line);) {
    if (!line.starts_with("0::")) continue;
    for (std::string group = line.substr(3);; group.resize(group.rfind('/'))) {
      const std::string folder = "/sys/fs/cgroup" + (group == "/" ? "" : group);
      const auto limit = read_number(folder + "/memory.max"), used = read_number(folder + "/memory.current");
      if (limit && used) {
        std::uint64_t reclaimable = 0;
        std::ifstream stat(folder + "/memory.stat");
        for (std::string key; stat >> key;) {
          std::uint64_t value = 0;
          stat >> value;
          if (key == "inactive_file" || key == "active_file") reclaimable += value;
        }
        const std::uint64_t fixed = *used - std::min(*used, reclaimable);
        // The files are read one after the other: a group that seems to have nothing left, though this process runs in
        // it, was caught between two of them.
        if (fixed < *limit) least = std::min(least, *limit - fixed);
      }
      if (group.empty() || group == "/") break;
    }
  }
  return least;
}

}  // namespace

std::uint64_t available_memory() {
  const std::uint64_t system = read_kib("/proc/meminfo", "MemAvailable:").value_or(0);
  return std::min(system > 0 ? system : kUnlimited, group_available());
}

std::uint64_t resident_memory() { return read_kib("/proc/self/status", "VmRSS:").value_or(0); }
std::uint64_t peak_memory() { return read_kib("/proc/self/status", "VmHWM:").value_or(0); }

}  // namespace octavo
