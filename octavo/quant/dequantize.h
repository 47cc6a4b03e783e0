// From FP8 back to a plain model: every quantized weight becomes nearest-even of float(code) * scale, the scales go,
// config.json loses its quantization_config. Streams like execute().
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "octavo/base/cpu.h"
#include "octavo/base/progress.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/output_job.h"

namespace octavo::quant {

struct DequantizeOptions {
  DType dtype = DType::kBF16;  // or kF32
  int threads = 1;
  Isa isa = Isa::kScalar;
  std::uint64_t window_bytes = 128ull << 20;  // of buffers, all threads together
  ProgressSink* progress = nullptr;           // counts bytes of the source
  JobOptions job;
};

struct DequantizeSummary {
  std::uint64_t source_bytes = 0, output_bytes = 0;
  std::size_t dequantized = 0, kept = 0, dropped = 0;  // dropped: tensors that only served a quantized weight
  double seconds = 0;
  bool already_finished = false;             // nothing was left to do
  std::uint64_t resumed_bytes = 0;           // of the source: what an earlier run had done
  std::vector<std::uint32_t> missing_parts;  // not empty: OUT is not there yet
};

// Writes OUT, whole or not at all, and goes on with what an earlier run left (octavo/checkpoint/output_job.h). Fails
// when the checkpoint is not quantized, or a weight in FP8 has no scale.
Result<DequantizeSummary> dequantize(const Checkpoint& checkpoint, const std::filesystem::path& out,
                                     const DequantizeOptions& options);

}  // namespace octavo::quant
