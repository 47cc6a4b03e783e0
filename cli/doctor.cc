// octavo doctor: what this machine is, what it gives at most, what would make it faster.
#include "octavo/engine/doctor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "octavo/base/text.h"
#include "octavo/base/version.h"

namespace octavo::cli {
namespace {

struct DoctorOptions {
  CommonOptions common;
  bool no_limits = false;
};

constexpr const char* kUnknown = "unknown";

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

// "" and absent values are null: unknown.
Json diagnosis_json(const engine::Diagnosis& d) {
  const Machine& m = d.machine;
  const auto text = [](const std::string& s) { return s.empty() ? Json() : Json(s); };
  Json caches = Json::array();
  for (const CpuCache& c : m.caches) {
    caches.push_back({{"level", c.level}, {"type", text(c.type)}, {"bytes", c.bytes}, {"cpus", text(c.cpus)}});
  }
  Json found = Json::array();
  for (const Isa isa : d.found) found.push_back(isa_name(isa));
  Json limits = Json::array();
  for (const engine::MeasuredLimits& l : d.limits) {
    limits.push_back({{"threads", l.threads},
                      {"dram_gb_per_s", l.dram_gb_per_s},
                      {"fma_gflop_per_s", l.fma_gflop_per_s},
                      {"bf16_gflop_per_s", or_null(l.bf16_gflop_per_s)}});
  }
  return {{"version", version()},
          {"cpu", text(m.cpu)},
          {"hardware_threads", or_null(m.threads)},
          {"cores", or_null(m.cores)},
          {"sockets", or_null(m.sockets)},
          {"cpus", d.cpus},
          {"threads", d.threads},
          {"caches", std::move(caches)},
          {"isa",
           {{"found", std::move(found)},
            {"chosen", isa_name(d.chosen)},
            {"why", engine::isa_reason(d)},
            {"amx", m.has_flag("amx_bf16")}}},
          {"memory_bytes", or_null(m.memory)},
          {"available_memory_bytes", or_null(m.available_memory)},
          {"huge_pages", text(m.huge_pages)},
          {"numa_nodes", or_null(m.numa_nodes)},
          {"governor", text(m.governor)},
          {"container", {{"cpus", or_null(m.group_cpus)}, {"memory_bytes", or_null(m.group_memory)}}},
          {"limits", std::move(limits)},
          {"advice", engine::advice(d)}};
}

std::string binary_bytes(std::uint64_t bytes) {
  return bytes >= 1 << 20 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} KiB", bytes >> 10);
}

std::string diagnosis_text(const engine::Diagnosis& d) {
  const Machine& m = d.machine;
  const auto count = [](const std::optional<int>& n, std::string_view what) {
    if (!n) return fmt::format("{}s {}", what, kUnknown);
    return fmt::format("{} {}{}", *n, what, *n == 1 ? "" : "s");
  };
  const auto bytes = [](const std::optional<std::uint64_t>& n) { return n ? human_bytes(*n) : std::string(kUnknown); };
  const auto known = [](const std::string& s) { return s.empty() ? std::string(kUnknown) : printable(s); };
  std::string out;
  const auto line = [&](std::string_view name, const std::string& value) {
    out += fmt::format("{:<14}{}\n", name, value);
  };
  line("processor", fmt::format("{}; {} on {}, {}", known(m.cpu), count(m.threads, "hardware thread"),
                                count(m.cores, "core"), count(m.sockets, "socket")));
  std::vector<std::string> caches;
  for (const CpuCache& c : m.caches) {
    const char* kind = c.type == "Data" ? "d" : c.type == "Instruction" ? "i" : "";
    caches.push_back(fmt::format("L{}{} {}{}", c.level, kind, binary_bytes(c.bytes),
                                 c.cpus.empty() ? "" : fmt::format(" (CPU {})", printable(c.cpus))));
  }
  line("caches", caches.empty() ? kUnknown : fmt::format("{}", fmt::join(caches, ", ")));
  std::vector<std::string_view> found;
  for (const Isa isa : d.found) found.push_back(isa_name(isa));
  line("instructions", fmt::format("{} of {}: {}", isa_name(d.chosen), fmt::join(found, ", "), engine::isa_reason(d)));
  if (m.has_flag("amx_bf16")) line("", "AMX is there; Octavo does not use it yet");
  line("memory", fmt::format("{}, {} available; {}", bytes(m.memory), bytes(m.available_memory),
                             count(m.numa_nodes, "NUMA node")));
  line("huge pages", fmt::format("transparent: {}", known(m.huge_pages)));
  line("clock", fmt::format("governor {}", known(m.governor)));
  const std::string no_limit = m.groups ? "without limit" : kUnknown;
  line("container", fmt::format("CPUs {}, memory {}", m.group_cpus ? fmt::format("{:.1f}", *m.group_cpus) : no_limit,
                                m.group_memory ? human_bytes(*m.group_memory) : no_limit));
  line("threads", fmt::format("{} unless --threads says otherwise", d.threads));
  for (const engine::MeasuredLimits& l : d.limits) {
    std::string text = fmt::format("{} thread{}: DRAM read {:.1f} GB/s, FP32 FMA ({}) {:.0f} GFLOP/s", l.threads,
                                   l.threads == 1 ? "" : "s", l.dram_gb_per_s, isa_name(d.chosen), l.fma_gflop_per_s);
    if (l.bf16_gflop_per_s) text += fmt::format(", BF16 dot products {:.0f} GFLOP/s", *l.bf16_gflop_per_s);
    line(&l == d.limits.data() ? "limits" : "", text);
  }
  const std::vector<std::string> sentences = engine::advice(d);
  for (const std::string& sentence : sentences) line(&sentence == sentences.data() ? "faster" : "", sentence);
  return out;
}

Outcome run(const DoctorOptions& o) {
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  engine::Diagnosis diagnosis = engine::diagnose(isa);
  if (o.common.threads > 0) diagnosis.threads = o.common.threads;
  if (!o.no_limits) OCTAVO_TRY(engine::measure_limits(diagnosis));
  CommonOptions common = o.common;
  common.quiet = false;  // the text is what was asked for
  OCTAVO_TRY(print_result(common, diagnosis_text(diagnosis), diagnosis_json(diagnosis)));
  return 0;
}

}  // namespace

void add_doctor(CLI::App& app, Action& action) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* command = add_command(app, "doctor", "Say what this machine is, gives at most, and lacks", "octavo doctor");
  command->add_flag("--no-limits", options->no_limits, "do not measure memory and arithmetic (a few seconds)")
      ->group("Run");
  add_common_options(*command, options->common);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
