// --memory, --restart, --part: what the commands that make a folder have in common.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "octavo/base/status.h"
#include "octavo/checkpoint/output_job.h"

namespace octavo::cli {

inline constexpr std::uint64_t kMinimumMemory = 64ull << 20;  // bytes

struct JobFlags {
  std::string memory = "1GiB";
  std::string part;
  bool restart = false;
};
void add_job_flags(CLI::App& command, JobFlags& flags, bool parts);

// "64MiB": a whole number and B, KiB, MiB or GiB; K, M and G are KiB, MiB and GiB. A usage error for anything else, or
// for less than kMinimumMemory.
Result<std::uint64_t> parse_memory(std::string_view text);

struct JobSetup {
  std::uint64_t window_bytes = 0;  // of buffers, so that the whole process stays within --memory and 1 KiB a tensor
  JobOptions job;
};
// To be called when the headers are read and the plan is made: what the process takes by then is not for buffers.
// `bytes` is what is read and written, together.
Result<JobSetup> set_up_job(const JobFlags& flags, std::size_t tensors, std::uint64_t bytes, int threads);

// The sentence for a job that was interrupted.
Error interrupted(const std::string& out);
// "; part 2/4 is done, 1 and 3 are missing ..." for a part of several, "" otherwise.
std::string missing_text(const JobFlags& flags, const std::vector<std::uint32_t>& missing, const std::string& out);

}  // namespace octavo::cli
