// From FP8 back to a plain model: every quantized weight becomes nearest-even of float(code) * scale, the scales go,
// config.json loses its quantization_config. Streams like execute().
#pragma once

#include <cstdint>
#include <filesystem>

#include "octavo/base/progress.h"
#include "octavo/checkpoint/checkpoint.h"

namespace octavo::quant {

struct DequantizeOptions {
  DType dtype = DType::kBF16;  // or kF32
  int threads = 1;
  ProgressSink* progress = nullptr;  // counts bytes of the source
};

struct DequantizeSummary {
  std::uint64_t source_bytes = 0, output_bytes = 0;
  std::size_t dequantized = 0, kept = 0, dropped = 0;  // dropped: tensors that only served a quantized weight
  double seconds = 0;
};

// Writes OUT, whole or not at all. Fails when the checkpoint is not quantized, or a weight in FP8 has no scale.
Result<DequantizeSummary> dequantize(const Checkpoint& checkpoint, const std::filesystem::path& out,
                                     const DequantizeOptions& options);

}  // namespace octavo::quant
