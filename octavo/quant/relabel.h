// When an FP8 weight can change its dialect with its codes untouched: pure rules on shapes, dtypes and regions.
#pragma once

#include "octavo/checkpoint/quantization.h"
#include "octavo/quant/plan.h"

namespace octavo::quant {

// Whether every region of `to` lies inside one region of the source, the codes have the same format, and the scales of
// the source can be stored as `to` stores them, bit for bit. Then the new scales are copies of old ones. `pow2`: all
// scales of the source are known to be powers of two.
bool can_relabel(const QuantizedWeight& from, const WeightEncoding& to, bool pow2);

// The narrowest dtype, no narrower than `wanted`, that holds every scale of the source; nullopt when kE8M0 is wanted
// and the scales need not be powers of two.
std::optional<fp8::ScaleDType> scale_dtype_for(DType source_scale, fp8::ScaleDType wanted, bool pow2);

}  // namespace octavo::quant
