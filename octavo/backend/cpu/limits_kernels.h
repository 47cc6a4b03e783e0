// The loops that limits.cc times, one table of functions per instruction set; written once in limits_impl.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/base/cpu.h"

namespace octavo::cpu {

struct LimitKernels {
  // Reads `bytes` from `data` (64-byte aligned) as several streams side by side; the OR of what it read, so that
  // nothing is left out. Bytes beyond a whole number of kReadGranule are not read.
  std::uint64_t (*read)(const std::byte* data, std::size_t bytes);
  // `rounds` rounds of independent FP32 multiply-adds; returns something of their result.
  float (*fma)(std::uint64_t rounds, float seed);
  double fma_flops;  // of a round: two a multiply-add
  // The same with dot products of BF16 pairs (vdpbf16ps) or tiles (tdpbf16ps); null where there are none.
  float (*bf16)(std::uint64_t rounds, float seed);
  double bf16_flops;
};

inline constexpr std::size_t kReadStreams = 8;
inline constexpr std::size_t kReadStretch = 256;  // bytes of a stream at a time: four lines
inline constexpr std::size_t kReadGranule = kReadStreams * kReadStretch;

// Of `isa`, which this machine must have.
const LimitKernels& limit_kernels(Isa isa);

namespace scalar {
LimitKernels limit_kernels();
}
#if defined(__x86_64__)
namespace avx2 {
LimitKernels limit_kernels();
}
namespace avx512 {
LimitKernels limit_kernels();
}
namespace avx512_bf16 {
LimitKernels limit_kernels();
}
namespace amx {
LimitKernels limit_kernels();
}
#endif

}  // namespace octavo::cpu
