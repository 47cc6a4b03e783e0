// The vectors of AVX-512 for limits_impl.h. For files named for it alone: what is defined here is compiled in each.
#pragma once

#include <immintrin.h>

#include "octavo/backend/cpu/limits_impl.h"

namespace octavo::cpu {
namespace {

typedef std::uint64_t Words __attribute__((vector_size(64)));

struct V {
  using F = __m512;
  static constexpr std::size_t kLanes = 16;
  static constexpr double kFlops = 2 * kLanes;
  static F load(const float* in) { return _mm512_loadu_ps(in); }
  static void store(float* out, F a) { _mm512_storeu_ps(out, a); }
  static F step(F sum, F a) { return _mm512_fmadd_ps(sum, a, a); }
};

}  // namespace
}  // namespace octavo::cpu
