// Parts of an output that were made in folders of their own, put together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "octavo/base/progress.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/output_job.h"

namespace octavo {

struct MergeOptions {
  int threads = 1;
  std::uint64_t window_bytes = 16ull << 20;  // of buffers, all threads together
  ProgressSink* progress = nullptr;
  JobOptions job;
};

struct MergeSummary {
  std::uint32_t parts = 0;
  std::size_t files = 0;    // shards and copied files
  std::uint64_t bytes = 0;  // of them
  bool already_finished = false;
  bool in_place = false;  // all parts were in OUT.partial: nothing had to be copied
  double seconds = 0;
};

// `inputs` are the folders that the parts were given as outputs (or their .partial). Fails when they are not all parts
// of one and the same output, when one is missing or not done, or when a shard is not what its part says. The inputs
// stay as they are, unless the only one is OUT.partial itself. Safe to kill and to run again.
Result<MergeSummary> merge_parts(const std::vector<std::filesystem::path>& inputs, const std::filesystem::path& out,
                                 const MergeOptions& options);
// Bytes that such a merge copies, for a progress bar; 0 where it fails.
std::uint64_t merge_bytes(const std::vector<std::filesystem::path>& inputs);

}  // namespace octavo
