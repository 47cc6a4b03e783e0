// Kernels for AVX2 with FMA and F16C: 8 floats a vector.
#if defined(__x86_64__)

#include <immintrin.h>

#include "octavo/backend/cpu/kernels_impl.h"

namespace octavo::cpu::avx2 {
namespace {

struct V {
  static constexpr std::size_t kLanes = 8;
  static constexpr int kTileTokens = 2;  // 8 accumulators, 4 weights, 1 value of 16 registers
  using F = __m256;
  typedef std::int32_t I __attribute__((vector_size(32)));

  static F set(float a) { return _mm256_set1_ps(a); }
  static F load(const float* in) { return _mm256_loadu_ps(in); }
  static void store(float* out, F a) { _mm256_storeu_ps(out, a); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }

  static float reduce_add(F a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  // reduce_add of four vectors at once.
  static __m128 reduce_add4(const F (&a)[4]) {
    const F low = _mm256_add_ps(_mm256_permute2f128_ps(a[0], a[2], 0x20), _mm256_permute2f128_ps(a[0], a[2], 0x31));
    const F high = _mm256_add_ps(_mm256_permute2f128_ps(a[1], a[3], 0x20), _mm256_permute2f128_ps(a[1], a[3], 0x31));
    // Four lanes each: [a0 | a2] and [a1 | a3].
    const F two = _mm256_add_ps(_mm256_shuffle_ps(low, high, 0x44), _mm256_shuffle_ps(low, high, 0xEE));
    // Two lanes each: [a0 a1 | a2 a3].
    const F one = _mm256_add_ps(_mm256_shuffle_ps(two, two, 0x88), _mm256_shuffle_ps(two, two, 0xDD));
    return _mm_movelh_ps(_mm256_castps256_ps128(one), _mm256_extractf128_ps(one, 1));
  }
  static float reduce_max(F a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  static __m128i load8(const void* in) { return _mm_loadl_epi64(static_cast<const __m128i*>(in)); }
  template <bool kFinite>
  static F load_e4m3(const std::uint8_t* in) {
    // Sign, exponent and mantissa to their places in FP16, whose bias of 15 instead of 7 makes it 2^-8 times the value,
    // subnormal numbers included. FP16's own subnormal numbers become normal FP32.
    const __m128i words = _mm_cvtepi8_epi16(load8(in));
    __m128i half = _mm_and_si128(_mm_slli_epi16(words, 7), _mm_set1_epi16(static_cast<short>(0xBF80)));
    if constexpr (!kFinite) {
      const __m128i nan = _mm_cmpeq_epi16(_mm_or_si128(words, _mm_set1_epi16(0x80 - 0x100)), _mm_set1_epi16(-1));
      half = _mm_or_si128(half, _mm_and_si128(nan, _mm_set1_epi16(0x7E00)));
    }
    return _mm256_cvtph_ps(half);
  }
  static F load_e5m2(const std::uint8_t* in) {
    return _mm256_cvtph_ps(_mm_unpacklo_epi8(_mm_setzero_si128(), load8(in)));  // FP16 with a shorter mantissa
  }
  static F load_table(const std::uint8_t* in, const float* table) {
    return _mm256_setr_ps(table[in[0]], table[in[1]], table[in[2]], table[in[3]], table[in[4]], table[in[5]],
                          table[in[6]], table[in[7]]);
  }
  static F load_bf16(const std::uint16_t* in) {
    const __m128i words = _mm_loadu_si128(static_cast<const __m128i*>(static_cast<const void*>(in)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
  }
};

}  // namespace

Kernels kernels() { return impl::kernels<V>(); }

}  // namespace octavo::cpu::avx2

#endif
