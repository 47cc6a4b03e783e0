// From facts to sentences.
#include "octavo/engine/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "octavo/backend/cpu/limits.h"
#include "octavo/base/memory.h"
#include "octavo/base/placement.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"

namespace octavo::engine {
namespace {

constexpr std::uint64_t kLimitShare = 4;  // the limits take at most a quarter of the memory that is free
constexpr double kSlower = 1.2;           // a difference that is not noise

bool has(const Diagnosis& d, Isa isa) { return std::find(d.found.begin(), d.found.end(), isa) != d.found.end(); }

}  // namespace

Diagnosis diagnose(Isa chosen) {
  Diagnosis out;
  out.machine = read_machine();
  out.cpus = allowed_cpus();
  out.chosen = chosen;
  out.best = detect_isa();
  for (const Isa isa : kIsas) {
    if (has_isa(isa)) out.found.push_back(isa);
  }
  out.threads = worker_count(0);
  return out;
}

Status measure_limits(Diagnosis& d) {
  std::vector<int> counts = {1};
  if (d.threads > 1) counts.push_back(d.threads);
  for (const int threads : counts) {
    OCTAVO_ASSIGN(cpu::Limits limits, cpu::Limits::create({d.chosen, threads, d.machine.largest_cache(),
                                                           available_memory() / kLimitShare}));
    MeasuredLimits out{threads, limits.dram_read_gb_per_s(), limits.fma_gflop_per_s(), std::nullopt};
    if (limits.has_bf16()) out.bf16_gflop_per_s = limits.bf16_gflop_per_s();
    d.limits.push_back(out);
  }
  return {};
}

std::string isa_reason(const Diagnosis& d) {
  if (d.chosen != d.best) return "OCTAVO_ISA forces it";
  if (d.chosen == Isa::kAvx512 && has(d, Isa::kAvx512Bf16)) {
    return "Intel's processors run BF16 dot products (avx512_bf16) at half the rate of FP32 multiply-adds";
  }
  if (d.chosen == Isa::kAmx) return "products of BF16 tiles, the fastest that this processor has";
  return d.chosen == Isa::kScalar ? "this processor has neither AVX2 with FMA and F16C nor AVX-512"
                                  : "the fastest that this processor has";
}

std::vector<std::string> advice(const Diagnosis& d) {
  const Machine& m = d.machine;
  std::vector<std::string> out;
  if (d.chosen != d.best) {
    out.push_back(
        fmt::format("OCTAVO_ISA forces {}: without it Octavo would use {}.", isa_name(d.chosen), isa_name(d.best)));
  }
  if (m.group_cpus && *m.group_cpus < static_cast<double>(d.threads)) {
    out.push_back(fmt::format(
        "The container may use {:.1f} CPUs, but {} threads would run, and be stopped in turn: use --threads {}, or "
        "raise the limit.",
        *m.group_cpus, d.threads, std::max(1, static_cast<int>(std::floor(*m.group_cpus)))));
  }
  if (m.threads && !d.cpus.empty() && static_cast<int>(d.cpus.size()) < *m.threads) {
    out.push_back(fmt::format("This process may use {} of the machine's {} CPUs ({}): taskset or a cpuset says so.",
                              d.cpus.size(), *m.threads, cpu_list_text(d.cpus)));
  }
  if (m.cores && m.threads && *m.cores < *m.threads && d.threads > *m.cores) {
    out.push_back(fmt::format(
        "Two threads share a core: `--threads {} --cpu-affinity auto` puts one on each core; `octavo bench MODEL "
        "--threads {},{}` says which is faster.",
        *m.cores, *m.cores, d.threads));
  }
  if (m.numa_nodes && *m.numa_nodes > 1) {
    out.push_back(fmt::format(
        "Memory has {} NUMA nodes: `--numa interleave` spreads a model over all of them, so that no node's rate is the "
        "limit.",
        *m.numa_nodes));
  }
  if (!m.governor.empty() && m.governor != "performance" && m.governor != "schedutil") {
    out.push_back(fmt::format(
        "The clock's governor is {}: `cpupower frequency-set -g performance` keeps the clock up between tokens.",
        m.governor));
  }
  if (m.huge_pages == "never") {
    out.push_back(
        "Transparent huge pages are off: `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled` lets weights lie "
        "in pages of 2 MiB.");
  }
  if (d.limits.size() > 1) {
    const MeasuredLimits &one = d.limits.front(), &all = d.limits.back();
    if (all.dram_gb_per_s < kSlower * one.dram_gb_per_s) {
      out.push_back(fmt::format(
          "One thread reads memory at {:.0f} GB/s, {} at {:.0f}: more threads speed up prompts and batches, not the "
          "decoding of one sequence.",
          one.dram_gb_per_s, all.threads, all.dram_gb_per_s));
    }
    if (all.fma_gflop_per_s < one.fma_gflop_per_s * all.threads / (2 * kSlower)) {
      out.push_back(fmt::format(
          "{} threads compute {:.1f} times what one does: other work runs on this machine, or its CPUs are shared.",
          all.threads, all.fma_gflop_per_s / one.fma_gflop_per_s));
    }
  }
  return out;
}

}  // namespace octavo::engine
