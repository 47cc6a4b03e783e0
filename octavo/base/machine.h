// What the machine is, as far as Linux's /proc and /sys say. Nothing here fails: what is not there is unknown.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace octavo {

struct CpuCache {
  int level = 0;
  std::string type;  // "Data", "Instruction", "Unified"
  std::uint64_t bytes = 0;
  std::string cpus;  // that share it: "0-7"
};

struct Machine {
  std::string cpu;             // "AMD EPYC 9654 96-Core Processor"; "": unknown
  std::optional<int> threads;  // hardware threads that are on
  std::optional<int> cores, sockets;
  std::vector<std::string> flags;  // of the processor, as /proc/cpuinfo has them
  std::vector<CpuCache> caches;    // of the first processor
  std::optional<std::uint64_t> memory, available_memory;
  std::string huge_pages;  // transparent ones: "always", "madvise", "never"; "": unknown
  std::optional<int> numa_nodes;
  std::string governor;  // of the first processor's clock: "performance", ...; "": unknown
  // What the control groups of this process (containers) allow; nullopt: no limit, or, without `groups`, unknown.
  bool groups = false;  // the system says which they are
  std::optional<double> group_cpus;
  std::optional<std::uint64_t> group_memory;

  bool has_flag(std::string_view name) const;
  std::uint64_t largest_cache() const;  // bytes; 0: unknown
};

// Reads ROOT/proc and ROOT/sys.
Machine read_machine(const std::filesystem::path& root = "/");

// ---- The forms of those files.
// A list of processors or nodes, "0-3,8": sorted, each once; nullopt for anything else.
std::optional<std::vector<int>> parse_cpu_list(std::string_view text);
std::string cpu_list_text(const std::vector<int>& cpus);  // the way back; sorted
// "32768K", "2M", "64": bytes.
std::optional<std::uint64_t> parse_cache_size(std::string_view text);
// The word in brackets of "always [madvise] never"; "" where there is none.
std::string parse_selected(std::string_view text);
// cpu.max of a control group: "150000 100000" is 1.5; "max 100000" no limit.
std::optional<double> parse_cpu_max(std::string_view text);
// The value of a line "Key:   123 kB", in bytes.
std::optional<std::uint64_t> parse_meminfo(std::string_view text, std::string_view key);
// /proc/cpuinfo: cpu, threads, cores, sockets, flags.
void parse_cpuinfo(std::string_view text, Machine& out);

}  // namespace octavo
