// A whole weight in memory to codes and scales: the bytes that `octavo quantize` writes of it.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "octavo/base/cpu.h"
#include "octavo/quant/spec.h"
#include "octavo/quant/weight_encoding.h"

namespace octavo::quant {

struct EncodedMatrix {
  std::vector<std::byte> codes;  // [shape]
  DType codes_dtype = DType::kF8E4M3;
  std::vector<std::byte> scales;  // as a folder stores them
  DType scales_dtype = DType::kF32;
  Shape scales_shape;
};

// `values`: `shape` = [out, in] elements of BF16, F16 or F32, row-major; not changed, whatever their alignment. With
// --scheme tensor the scale is that of this weight alone (a folder's q/k/v and gate/up share theirs). Failures: another
// shape or dtype, bytes that are not the shape's, NaN or infinity (with NonFinite::kError; the place is named).
Result<EncodedMatrix> encode_matrix(const QuantSpec& spec, DType dtype, const Shape& shape,
                                    std::span<const std::byte> values, Isa isa, int threads);

}  // namespace octavo::quant
