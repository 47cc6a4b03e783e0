// Reads /proc and /sys.
#include "octavo/base/machine.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "octavo/base/text.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr int kMostCpus = 1 << 16;  // in a list: what is larger is not one

std::string read_text(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename T>
void keep_least(std::optional<T>& least, std::optional<T> value) {
  if (value && (!least || *value < *least)) least = value;
}

// A number in a file of a control group: of version 1 without a limit, the largest number of pages.
std::optional<std::uint64_t> read_limit(const fs::path& file) {
  const auto value = parse_number<std::uint64_t>(trim(read_text(file)));
  return value && *value < std::uint64_t{1} << 62 ? value : std::nullopt;
}

std::optional<double> read_quota(const fs::path& group) {  // version 1
  const auto quota = parse_number<std::int64_t>(trim(read_text(group / "cpu.cfs_quota_us")));
  const auto period = parse_number<std::int64_t>(trim(read_text(group / "cpu.cfs_period_us")));
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

// The limits of this process's groups, from its own up to the root: a line is "ID:CONTROLLERS:/PATH", without
// controllers in version 2. In a container the path may be that of the host; then the root is the container's own.
void read_groups(const fs::path& root, Machine& out) {
  const fs::path mount = root / "sys/fs/cgroup";
  const std::string self = read_text(root / "proc/self/cgroup");
  for (const std::string_view line : split(self, '\n')) {
    const std::vector<std::string_view> parts = split(line, ':');
    if (parts.size() < 3 || !parts[2].starts_with('/')) continue;
    out.groups = true;
    const std::vector<std::string_view> controllers = split(parts[1], ',');
    const auto has = [&](std::string_view name) {
      return std::find(controllers.begin(), controllers.end(), name) != controllers.end();
    };
    for (fs::path group = fs::path(parts[2].substr(1));; group = group.parent_path()) {
      if (parts[1].empty()) {
        keep_least(out.group_cpus, parse_cpu_max(read_text(mount / group / "cpu.max")));
        keep_least(out.group_memory, read_limit(mount / group / "memory.max"));
      }
      if (has("cpu")) keep_least(out.group_cpus, read_quota(mount / "cpu" / group));
      if (has("memory")) keep_least(out.group_memory, read_limit(mount / "memory" / group / "memory.limit_in_bytes"));
      if (group.empty()) break;
    }
  }
}

void read_caches(const fs::path& cpu, Machine& out) {
  for (int index = 0;; ++index) {
    const fs::path folder = cpu / "cache" / ("index" + std::to_string(index));
    const auto level = parse_number<int>(trim(read_text(folder / "level")));
    const auto bytes = parse_cache_size(trim(read_text(folder / "size")));
    if (!level || !bytes) return;
    out.caches.push_back({*level, std::string(trim(read_text(folder / "type"))), *bytes,
                          std::string(trim(read_text(folder / "shared_cpu_list")))});
  }
}

}  // namespace

std::optional<std::vector<int>> parse_cpu_list(std::string_view text) {
  std::set<int> cpus;
  for (const std::string_view part : split(trim(text), ',')) {
    const std::size_t dash = part.find('-');
    const auto first = parse_number<int>(part.substr(0, dash));
    const auto last = dash == part.npos ? first : parse_number<int>(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last >= kMostCpus) return std::nullopt;
    for (int cpu = *first; cpu <= *last; ++cpu) cpus.insert(cpu);
  }
  return std::vector<int>(cpus.begin(), cpus.end());
}

std::string cpu_list_text(const std::vector<int>& cpus) {
  std::string out;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    if (!out.empty()) out += ',';
    out += std::to_string(cpus[i]);
    if (end - i > 1) out += (end - i > 2 ? '-' : ',') + std::to_string(cpus[end - 1]);
    i = end;
  }
  return out;
}

std::optional<std::uint64_t> parse_cache_size(std::string_view text) {
  int shift = 0;
  if (text.ends_with('K')) shift = 10;
  if (text.ends_with('M')) shift = 20;
  if (text.ends_with('G')) shift = 30;
  if (shift != 0) text.remove_suffix(1);
  const auto value = parse_number<std::uint64_t>(text);
  if (!value || *value > ~std::uint64_t{0} >> shift) return std::nullopt;
  return *value << shift;
}

std::string parse_selected(std::string_view text) {
  const std::size_t open = text.find('['), close = text.find(']');
  if (open == text.npos || close == text.npos || close < open) return "";
  return std::string(text.substr(open + 1, close - open - 1));
}

std::optional<double> parse_cpu_max(std::string_view text) {
  text = trim(text);
  const std::size_t space = text.find(' ');
  if (space == text.npos) return std::nullopt;
  const auto quota = parse_number<std::uint64_t>(text.substr(0, space));
  const auto period = parse_number<std::uint64_t>(text.substr(space + 1));
  if (!quota || !period || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<std::uint64_t> parse_meminfo(std::string_view text, std::string_view key) {
  for (const std::string_view line : split(text, '\n')) {
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    std::string_view value = trim(line.substr(key.size() + 1));
    if (!value.ends_with(" kB")) return std::nullopt;
    value.remove_suffix(3);
    const auto number = parse_number<std::uint64_t>(value);
    if (!number || *number > ~std::uint64_t{0} >> 10) return std::nullopt;
    return *number << 10;
  }
  return std::nullopt;
}

void parse_cpuinfo(std::string_view text, Machine& out) {
  int threads = 0;
  int socket = 0;  // of the processor that is being read
  std::set<int> sockets;
  std::set<std::pair<int, int>> cores;
  for (const std::string_view line : split(text, '\n')) {
    const std::size_t colon = line.find(':');
    if (colon == line.npos) continue;
    const std::string_view key = trim(line.substr(0, colon)), value = trim(line.substr(colon + 1));
    if (key == "processor") {
      ++threads;
      socket = 0;
    } else if (key == "physical id") {
      socket = parse_number<int>(value).value_or(0);
      sockets.insert(socket);
    } else if (key == "core id") {
      cores.emplace(socket, parse_number<int>(value).value_or(0));
    } else if (key == "model name" && out.cpu.empty()) {
      out.cpu = value;
    } else if ((key == "flags" || key == "Features") && out.flags.empty()) {
      for (const std::string_view flag : split(value, ' ')) out.flags.emplace_back(flag);
    }
  }
  if (threads > 0) out.threads = threads;
  if (!sockets.empty()) out.sockets = static_cast<int>(sockets.size());
  if (!cores.empty()) out.cores = static_cast<int>(cores.size());
}

bool Machine::has_flag(std::string_view name) const {
  return std::find(flags.begin(), flags.end(), name) != flags.end();
}

std::uint64_t Machine::largest_cache() const {
  std::uint64_t largest = 0;
  for (const CpuCache& cache : caches) largest = std::max(largest, cache.bytes);
  return largest;
}

Machine read_machine(const fs::path& root) {
  Machine out;
  parse_cpuinfo(read_text(root / "proc/cpuinfo"), out);
  const std::string memory = read_text(root / "proc/meminfo");
  out.memory = parse_meminfo(memory, "MemTotal");
  out.available_memory = parse_meminfo(memory, "MemAvailable");
  const fs::path system = root / "sys/devices/system";
  read_caches(system / "cpu/cpu0", out);
  out.governor = trim(read_text(system / "cpu/cpu0/cpufreq/scaling_governor"));
  out.huge_pages = parse_selected(read_text(root / "sys/kernel/mm/transparent_hugepage/enabled"));
  if (const auto nodes = parse_cpu_list(read_text(system / "node/online"))) {
    out.numa_nodes = static_cast<int>(nodes->size());
  }
  read_groups(root, out);
  return out;
}

}  // namespace octavo
