// Codes back to values: the nearest BF16 or F32 of float(code) * scale, for every granularity and layout of scales.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "octavo/backend/cpu/encode.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/quantization.h"
#include "octavo/quant/schedule.h"

namespace octavo::quant {

// The rectangle that a weight is worked on as: its rows (of all experts, one after the other) and its columns.
Extent whole_extent(const QuantizedWeight& weight);

// Reads the codes and scales under a rectangle of the weight and fills `out` with its values as `dtype` (BF16 or F32),
// row by row and contiguous. `codes` is the caller's memory, reused from call to call. A scale may lie in another shard
// than its weight. The rectangle is not empty.
Status decode_extent(const Checkpoint& checkpoint, const QuantizedWeight& weight, const Extent& extent, DType dtype,
                     const cpu::EncodeKernels& kernels, std::vector<std::byte>& codes, std::span<std::byte> out);

}  // namespace octavo::quant
