// Kernels for AVX-512 (F, BW, DQ, VL).
#if defined(__x86_64__)

#include "octavo/backend/cpu/traits_avx512.h"

namespace octavo::cpu::avx512 {

Kernels kernels() { return impl::kernels<V>(); }

}  // namespace octavo::cpu::avx512

#endif
