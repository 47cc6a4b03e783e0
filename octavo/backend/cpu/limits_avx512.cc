// Limits of AVX-512: 16 floats a vector.
#if defined(__x86_64__)

#include "octavo/backend/cpu/limits_avx512.h"

namespace octavo::cpu::avx512 {

LimitKernels limit_kernels() { return {read_streams<Words>, run_chains<V>, chain_flops<V>(), nullptr, 0}; }

}  // namespace octavo::cpu::avx512

#endif
