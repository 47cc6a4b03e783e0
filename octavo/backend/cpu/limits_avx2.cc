// Limits of AVX2 with FMA: 8 floats a vector.
#if defined(__x86_64__)

#include <immintrin.h>

#include "octavo/backend/cpu/limits_impl.h"

namespace octavo::cpu::avx2 {
namespace {

typedef std::uint64_t Words __attribute__((vector_size(32)));

struct V {
  using F = __m256;
  static constexpr std::size_t kLanes = 8;
  static constexpr double kFlops = 2 * kLanes;
  static F load(const float* in) { return _mm256_loadu_ps(in); }
  static void store(float* out, F a) { _mm256_storeu_ps(out, a); }
  static F step(F sum, F a) { return _mm256_fmadd_ps(sum, a, a); }
};

}  // namespace

LimitKernels limit_kernels() { return {read_streams<Words>, run_chains<V>, chain_flops<V>(), nullptr, 0}; }

}  // namespace octavo::cpu::avx2

#endif
