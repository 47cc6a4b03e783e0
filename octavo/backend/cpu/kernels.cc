// The choice of kernels by instruction set.
#include "octavo/backend/cpu/kernels.h"

namespace octavo::cpu {

const Kernels& kernels(Isa isa, bool bf16) {
  static const Kernels scalar_kernels = scalar::kernels();
#if defined(__x86_64__)
  // Each is built only when asked for: code compiled for an instruction set must not run where it is missing.
  if (isa == Isa::kAmx && bf16) {
    static const Kernels amx_kernels = amx::kernels();
    return amx_kernels;
  }
  if (isa == Isa::kAvx512Bf16 && bf16) {
    static const Kernels avx512_bf16_kernels = avx512_bf16::kernels();
    return avx512_bf16_kernels;
  }
  if (isa == Isa::kAvx512 || isa == Isa::kAvx512Bf16 || isa == Isa::kAmx) {
    static const Kernels avx512_kernels = avx512::kernels();
    return avx512_kernels;
  }
  if (isa == Isa::kAvx2) {
    static const Kernels avx2_kernels = avx2::kernels();
    return avx2_kernels;
  }
#else
  (void)isa, (void)bf16;
#endif
  return scalar_kernels;
}

}  // namespace octavo::cpu
