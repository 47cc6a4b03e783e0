// Parsing of sizes and parts, and the budget of memory.
#include "cli/job_flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <limits>

#include "cli/interrupt.h"
#include "octavo/base/memory.h"
#include "octavo/base/text.h"

namespace octavo::cli {
namespace {

// Beside buffers and tables: stacks, the C library's own, what is read of files whole.
constexpr std::uint64_t kReserve = 4ull << 20;
constexpr std::uint64_t kReservePerThread = 256ull << 10;
constexpr std::uint64_t kBytesPerTensor = 1024;

Result<FolderOptions> parse_part(const std::string& text) {
  FolderOptions out;
  if (text.empty()) return out;
  const auto numbers = split(text, '/');
  const auto number = [](std::string_view part, std::uint32_t& value) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc() && end == part.data() + part.size() && value > 0;
  };
  constexpr std::uint32_t kMostParts = 100'000;
  if (numbers.size() != 2 || !number(numbers[0], out.part) || !number(numbers[1], out.parts) || out.part > out.parts ||
      out.parts > kMostParts) {
    return usage_error("--part {}: must be I/N with 1 <= I <= N <= {}, such as 2/8", printable(text), kMostParts);
  }
  return out;
}

}  // namespace

void add_job_flags(CLI::App& command, JobFlags& flags, bool parts) {
  command
      .add_option("--memory", flags.memory,
                  "most memory to use, besides 1 KiB a tensor: a number and B, KiB,\n"
                  "MiB or GiB (also K, M, G), at least 64MiB (default 1GiB)")
      ->option_text("SIZE")
      ->group("Run");
  command.add_flag("--restart", flags.restart, "throw away what an earlier run left in OUT.partial")->group("Run");
  if (!parts) return;
  command
      .add_option("--part", flags.part,
                  "do share I of N of the shards, for N machines; the last one done\n"
                  "puts OUT together, or `octavo merge` does")
      ->option_text("I/N")
      ->group("Run");
}

Result<std::uint64_t> parse_memory(std::string_view text) {
  struct Unit {
    std::string_view name;
    int shift;
  };
  static constexpr std::array<Unit, 7> kUnits{
      {{"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"K", 10}, {"M", 20}, {"G", 30}}};
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const Unit& u : kUnits) {
    if (u.name != unit || error != std::errc()) continue;
    if (number > std::numeric_limits<std::uint64_t>::max() >> u.shift) break;
    const std::uint64_t bytes = number << u.shift;
    if (bytes < kMinimumMemory) return usage_error("--memory {}: at least 64MiB are needed", printable(text));
    return bytes;
  }
  return usage_error("--memory {}: must be a whole number and B, KiB, MiB, GiB, K, M or G, such as 512MiB",
                     printable(text));
}

Result<JobSetup> set_up_job(const JobFlags& flags, std::size_t tensors, std::uint64_t bytes, int threads) {
  OCTAVO_ASSIGN(const std::uint64_t memory, parse_memory(flags.memory));
  JobSetup out;
  OCTAVO_ASSIGN(out.job.folder, parse_part(flags.part));
  out.job.folder.restart = flags.restart;
  out.job.stop = &interrupt_signal();
  // Buffers come and go as mappings of their own: what is freed is gone, in whatever order.
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
  malloc_trim(0);
#endif
  const std::uint64_t taken = resident_memory() + kReserve + kReservePerThread * static_cast<std::uint64_t>(threads);
  const std::uint64_t all = memory + kBytesPerTensor * tensors;
  constexpr std::uint64_t kLeast = 4ull << 20;
  out.window_bytes = all > taken + kLeast ? all - taken : kLeast;
  // Where the model does not fit the memory, its pages would push out those of everybody else.
  out.job.release_cache = bytes > available_memory() / 2;
  return out;
}

Error interrupted(const std::string& out) {
  const int signal = interrupt_signal().load();
  const char* name = signal == SIGINT ? "SIGINT" : signal == SIGTERM ? "SIGTERM" : "SIGHUP";
  return {ErrorKind::kInterrupted,
          fmt::format("stopped by {}; what is done is kept in {}.partial, and the same command goes on from there",
                      name, out)};
}

std::string missing_text(const JobFlags& flags, const std::vector<std::uint32_t>& missing, const std::string& out) {
  if (missing.empty()) return "";
  constexpr std::size_t kShown = 10;
  const std::vector<std::uint32_t> shown(
      missing.begin(), missing.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, missing.size())));
  const std::string more = missing.size() > kShown ? fmt::format(" and {} more", missing.size() - kShown) : "";
  return fmt::format(
      "part {} is done; {} {}{} {} missing. {} appears when the last is done in the same folder; parts in "
      "folders of their own go together with `octavo merge`\n",
      flags.part, missing.size() == 1 ? "part" : "parts", fmt::join(shown, ", "), more,
      missing.size() == 1 ? "is" : "are", out);
}

}  // namespace octavo::cli
