// Where a plan's bytes go: the shards of an output folder, or a model in memory (online quantization).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "octavo/base/status.h"

namespace octavo::quant {

class TensorSink {
 public:
  virtual ~TensorSink() = default;
  // `bytes` of Plan::outputs[output], from `offset` on, in the output's dtype and row-major: whole elements, and of
  // codes whole rows or a stretch of one row (cut_range makes rectangles of any range). Called from several threads, in
  // any order; ranges never overlap, and together they cover every output once (one without elements: never called).
  // An error ends the work; other threads may still write what they have begun.
  virtual Status write(std::uint32_t output, std::uint64_t offset, std::span<const std::byte> bytes) = 0;
};

}  // namespace octavo::quant
