// Limits of AVX-512 with BF16: dot products of pairs, two multiply-adds a lane.
#if defined(__x86_64__)

#include "octavo/backend/cpu/limits_avx512.h"

namespace octavo::cpu::avx512_bf16 {
namespace {

struct Pairs : V {
  static constexpr double kFlops = 4 * kLanes;
  static __m512bh pairs(F a) {
    __m512bh out;
    static_assert(sizeof out == sizeof a);
    std::memcpy(&out, &a, sizeof a);
    return out;
  }
  // The halves of an FP32 value are two BF16 values; any will do that are not subnormal.
  static F step(F sum, F a) { return _mm512_dpbf16_ps(sum, pairs(a), pairs(a)); }
};

}  // namespace

LimitKernels limit_kernels() {
  return {read_streams<Words>, run_chains<V>, chain_flops<V>(), run_chains<Pairs>, chain_flops<Pairs>()};
}

}  // namespace octavo::cpu::avx512_bf16

#endif
