// The traits of AVX-512 (F, BW, DQ, VL): 16 floats a vector. For files named for it alone: what is defined here is
// compiled in each of them.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics start from an undefined vector, of which it then warns (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include "octavo/backend/cpu/kernels_impl.h"

namespace octavo::cpu {
namespace {

struct V {
  static constexpr std::size_t kLanes = 16;
  // Of 32 registers: 24 accumulators, 4 weights, 1 input.
  static constexpr int kTileTokens = 12, kFewTokens = 12;
  static constexpr int groups_at_once(int tokens) { return tokens <= 2 ? 4 : tokens <= 5 ? 2 : 1; }
  static constexpr int kTileQueries = 6;  // 24 accumulators, 4 keys, 1 value
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

  // Words of two elements each, and FP16 to floats.
  static __m512i load_words(const void* in) { return _mm512_loadu_si512(in); }
  static void halves(__m512i words, F (&out)[2]) {
    out[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(words));
    out[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(words, 1));
  }
  template <bool kFinite>
  static __m512i e4m3_to_half(__m512i high) {  // codes in the upper bytes, anything below; as load_e4m3
    __m512i half = _mm512_and_si512(_mm512_srai_epi16(high, 1), _mm512_set1_epi16(static_cast<short>(0xBF80)));
    if constexpr (!kFinite) {
      const __m512i magnitude = _mm512_and_si512(high, _mm512_set1_epi16(0x7F00));
      const __mmask32 nan = _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x7F00));
      half = _mm512_mask_mov_epi16(half, nan, _mm512_set1_epi16(0x7E00));
    }
    return half;
  }
  template <bool kFinite>
  static void load_e4m3_pairs(const std::uint8_t* in, F (&even)[2], F (&odd)[2]) {
    const __m512i words = load_words(in);
    halves(e4m3_to_half<kFinite>(_mm512_slli_epi16(words, 8)), even);
    halves(e4m3_to_half<kFinite>(words), odd);
  }
  static void load_e5m2_pairs(const std::uint8_t* in, F (&even)[2], F (&odd)[2]) {
    const __m512i words = load_words(in);
    halves(_mm512_slli_epi16(words, 8), even);
    halves(_mm512_and_si512(words, _mm512_set1_epi16(static_cast<short>(0xFF00))), odd);
  }
  static void load_table_pairs(const std::uint8_t* in, const float* table, F (&even)[2], F (&odd)[2]) {
    const __m512i words = load_words(in);
    const __m256i parts[2] = {_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64(words, 1)};
    for (int i = 0; i < 2; ++i) {
      const __m512i pairs = _mm512_cvtepu16_epi32(parts[i]);
      even[i] = _mm512_i32gather_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(0xFF)), table, sizeof(float));
      odd[i] = _mm512_i32gather_ps(_mm512_srli_epi32(pairs, 8), table, sizeof(float));
    }
  }
  static void load_bf16_pairs(const std::uint16_t* in, F (&even)[2], F (&odd)[2]) {
    for (int i = 0; i < 2; ++i) {
      const __m512i pairs = load_words(in + 32 * i);
      even[i] = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
      odd[i] = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xFFFF0000))));
    }
  }
};

}  // namespace
}  // namespace octavo::cpu
