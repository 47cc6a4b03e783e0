// Where each instruction set's encode kernels are defined: encode_avx2.cc and the like. encode_kernels() chooses. And
// what they call outside their own file.
#pragma once

#include "octavo/backend/cpu/encode.h"

namespace octavo::cpu {

// Kernels add squares in FP32, where those of ordinary weights neither overflow nor vanish. At other scales they call
// this, which uses doubles throughout: what `codes` did to n values, added to `distortion`.
inline constexpr float kSmallestMeasuredScale = 0x1p-30f, kLargestMeasuredScale = 0x1p30f;
enum class SourceType : std::uint8_t { kBF16, kF16, kF32 };
void add_distortion(SourceType type, const void* in, const std::uint8_t* codes, std::size_t n, fp8::Format format,
                    float scale, Distortion& distortion);

namespace scalar {
EncodeKernels encode_kernels();
}
#if defined(__x86_64__)
namespace avx2 {
EncodeKernels encode_kernels();
}
namespace avx512 {
EncodeKernels encode_kernels();
}
#endif

}  // namespace octavo::cpu
