// The input of a linear layer as the kernel multiplies it: rounded to FP8 where the scheme says so, in the weight's
// segments.
#pragma once

#include "octavo/backend/backend.h"
#include "octavo/backend/cpu/encode.h"
#include "octavo/backend/cpu/linear_weight.h"

namespace octavo::cpu {

// How many scales a token has: 0, 1, or one a segment.
std::uint64_t input_scale_count(const backend::InputRounding& rounding, const Segments& segments);

// out [segments.padded()]: the values of x [K], rounded to BF16 with `bf16`; or of the codes of x / scale, exactly: x
// is rounded once, to the form that is multiplied. scales: as counted above. A token (or group) with a NaN or infinity
// has no scale: all its values become NaN, so that the fault shows.
void round_input(const backend::InputRounding& rounding, bool bf16, const Segments& segments,
                 const EncodeKernels& kernels, const float* x, float* out, float* scales);

}  // namespace octavo::cpu
