// Carries a plan out: reads in parts, encodes in parallel, writes positionally, to a folder or to any sink. Memory is
// bounded by the window whatever the size of a model, shard or tensor.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "octavo/base/cpu.h"
#include "octavo/base/json.h"
#include "octavo/base/progress.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/output_job.h"
#include "octavo/quant/encode_piece.h"
#include "octavo/quant/plan.h"
#include "octavo/quant/tensor_sink.h"

namespace octavo::quant {

inline constexpr std::uint64_t kDefaultWindow = 128ull << 20;  // bytes of buffers, all threads together
// The same on the way into memory, beside a model that stays there: as much as a block of 128 rows of a usual layer
// needs to be read at once, which is also faster, as there is no disk to be fed long writes.
constexpr std::uint64_t online_window(int threads) {
  constexpr std::uint64_t kPerThread = 8ull << 20;
  return std::min(kPerThread * static_cast<std::uint64_t>(threads), kDefaultWindow);
}

struct ExecuteOptions {
  int threads = 1;
  Isa isa = Isa::kScalar;
  std::uint64_t window_bytes = 0;          // 0: kDefaultWindow into a folder, online_window into a sink
  bool release_cache = false;              // drop what was read from the page cache: the model exceeds memory
  bool sqnr = false;                       // measure what encoding does to the values
  ProgressSink* progress = nullptr;        // counts bytes of the source
  const std::atomic<int>* stop = nullptr;  // not 0: end soon, with everything done so far kept (kInterrupted)
};

struct KindScales {
  std::string kind;  // last component of the modules' names
  std::size_t tensors = 0;
  float min_scale = 0, max_scale = 0;
  Distortion distortion;  // with ExecuteOptions::sqnr
};

struct TensorDistortion {
  std::string module;
  Distortion distortion;
};

struct Summary {
  std::uint64_t source_bytes = 0, output_bytes = 0;
  std::size_t quantized = 0, kept = 0;
  std::uint64_t zeroed = 0;                   // values that were not finite (NonFinite::kZero)
  std::vector<KindScales> kinds;              // by name
  std::vector<TensorDistortion> distortions;  // with ExecuteOptions::sqnr, in the order of the checkpoint
  double seconds = 0;
  // Of a folder:
  bool already_finished = false;             // nothing was left to do, and the above says only what the plan does
  std::uint64_t resumed_bytes = 0;           // of the source: what an earlier run had done
  std::uint64_t part_bytes = 0;              // of the source: this part's share
  std::vector<std::uint32_t> missing_parts;  // not empty: OUT is not there yet
};

// Reads, encodes and hands every output of the plan to `sink`; nothing is written to disk. The sink's own memory aside,
// it needs the window. An error of the sink ends the work and is returned as it is.
Result<Summary> encode_tensors(const Checkpoint& checkpoint, const Plan& plan, TensorSink& sink,
                               const ExecuteOptions& options);

// The same into the shards of OUT, with config.json and the other files (octavo/checkpoint/output_job.h): OUT appears
// whole or not at all, and an OUT.partial that an earlier run left is gone on with.
// `job_options` say when to stop and whether to release the cache.
Result<Summary> execute(const Checkpoint& checkpoint, const Plan& plan, const std::filesystem::path& out,
                        const ExecuteOptions& options, const JobOptions& job_options = {});

}  // namespace octavo::quant
