// The choice of encode kernels by instruction set.
#include "octavo/backend/cpu/encode.h"

#include "octavo/backend/cpu/encode_tables.h"

namespace octavo::cpu {

const EncodeKernels& encode_kernels(Isa isa) {
  static const EncodeKernels scalar_kernels = scalar::encode_kernels();
#if defined(__x86_64__)
  // Each is built only when asked for: code compiled for an instruction set must not run where it is missing.
  if (isa == Isa::kAvx512) {
    static const EncodeKernels avx512_kernels = avx512::encode_kernels();
    return avx512_kernels;
  }
  if (isa == Isa::kAvx2) {
    static const EncodeKernels avx2_kernels = avx2::encode_kernels();
    return avx2_kernels;
  }
#else
  (void)isa;
#endif
  return scalar_kernels;
}

}  // namespace octavo::cpu
