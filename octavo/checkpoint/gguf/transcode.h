// The data of an import: GGUF blocks to rows of BF16, F16 or F32, window by window, on several threads.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/file.h"
#include "octavo/base/progress.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/gguf/tensor_map.h"
#include "octavo/checkpoint/output_job.h"

namespace octavo {

struct TranscodeJob {
  MappedTensor tensor;
  std::uint64_t target = 0;  // file offset of the first byte written
  std::uint32_t file = 0;    // of the output job
};

struct TranscodeOptions {
  DType dtype = DType::kBF16;
  int threads = 1;
  std::uint64_t window_bytes = std::uint64_t{1} << 20;  // of output: a unit
  ProgressSink* progress = nullptr;
};

// The units of an import. They depend on jobs, dtype and window alone.
std::vector<OutputUnit> transcode_units(const std::vector<TranscodeJob>& jobs, const TranscodeOptions& options);

// Decodes every job's tensor, undoes the interleaving of heads, rounds to dtype (nearest even) and writes it densely at
// its target; what `out` has done already is left out. Memory: 2 windows a thread.
Status transcode(const ByteSource& source, const std::vector<TranscodeJob>& jobs, const TranscodeOptions& options,
                 OutputJob& out);

}  // namespace octavo
