// Kernels for AVX-512 (F, BW, DQ, VL): 16 floats a vector.
#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics start from an undefined vector, of which it then warns (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include "octavo/backend/cpu/kernels_impl.h"

namespace octavo::cpu::avx512 {
namespace {

struct V {
  static constexpr std::size_t kLanes = 16;
  static constexpr int kTileTokens = 6;  // 24 accumulators, 4 weights, 1 value of 32 registers
  using F = __m512;
  typedef std::int32_t I __attribute__((vector_size(64)));

  static F set(float a) { return _mm512_set1_ps(a); }
  static F load(const float* in) { return _mm512_loadu_ps(in); }
  static void store(float* out, F a) { _mm512_storeu_ps(out, a); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }

  static float reduce_add(F a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  // reduce_add of four vectors at once.
  static __m128 reduce_add4(const F (&a)[4]) {
    const F b = _mm512_add_ps(_mm512_shuffle_f32x4(a[0], a[1], 0x44), _mm512_shuffle_f32x4(a[0], a[1], 0xEE));
    const F c = _mm512_add_ps(_mm512_shuffle_f32x4(a[2], a[3], 0x44), _mm512_shuffle_f32x4(a[2], a[3], 0xEE));
    // Eight lanes each: [a0 | a1] and [a2 | a3]. Then four lanes each: [a0 | a1 | a2 | a3].
    const F four = _mm512_add_ps(_mm512_shuffle_f32x4(b, c, 0x88), _mm512_shuffle_f32x4(b, c, 0xDD));
    const F two = _mm512_add_ps(four, _mm512_permute_ps(four, 0x4E));
    const F one = _mm512_add_ps(two, _mm512_permute_ps(two, 0xB1));
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(_mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12)), one));
  }
  static float reduce_max(F a) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  static __m128i load16(const void* in) { return _mm_loadu_si128(static_cast<const __m128i*>(in)); }
  template <bool kFinite>
  static F load_e4m3(const std::uint8_t* in) {
    // Sign, exponent and mantissa to their places in FP16, whose bias of 15 instead of 7 makes it 2^-8 times the value,
    // subnormal numbers included. FP16's own subnormal numbers become normal FP32.
    const __m256i words = _mm256_cvtepi8_epi16(load16(in));
    __m256i half = _mm256_and_si256(_mm256_slli_epi16(words, 7), _mm256_set1_epi16(static_cast<short>(0xBF80)));
    if constexpr (!kFinite) {
      const __m256i all_ones = _mm256_or_si256(words, _mm256_set1_epi16(0x80 - 0x100));
      const __mmask16 nan = _mm256_cmpeq_epi16_mask(all_ones, _mm256_set1_epi16(-1));
      half = _mm256_mask_mov_epi16(half, nan, _mm256_set1_epi16(0x7E00));
    }
    return _mm512_cvtph_ps(half);
  }
  static F load_e5m2(const std::uint8_t* in) {
    return _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(load16(in)), 8));  // FP16 with a shorter mantissa
  }
  static F load_table(const std::uint8_t* in, const float* table) {
    return _mm512_i32gather_ps(_mm512_cvtepu8_epi32(load16(in)), table, sizeof(float));
  }
  static F load_bf16(const std::uint16_t* in) {
    const __m256i words = _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(in)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
  }
};

}  // namespace

Kernels kernels() { return impl::kernels<V>(); }

}  // namespace octavo::cpu::avx512

#endif
