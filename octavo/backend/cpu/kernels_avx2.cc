// Kernels for AVX2 with FMA and F16C: 8 floats a vector.
#if defined(__x86_64__)

#include <immintrin.h>

#include "octavo/backend/cpu/kernels_impl.h"

namespace octavo::cpu::avx2 {
namespace {

struct V {
  static constexpr std::size_t kLanes = 8;
  // Of 16 registers: 12 accumulators, 2 weights, 1 input.
  static constexpr int kTileTokens = 6, kFewTokens = 6;
  static constexpr int groups_at_once(int tokens) { return tokens == 1 ? 4 : tokens == 2 ? 2 : 1; }
  static constexpr int kTileQueries = 2;  // 8 accumulators, 4 keys, 1 value
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

  // Words of two elements each, and FP16 to floats.
  static __m256i load_words(const void* in) { return _mm256_loadu_si256(static_cast<const __m256i*>(in)); }
  static void halves(__m256i words, F (&out)[2]) {
    out[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(words));
    out[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(words, 1));
  }
  template <bool kFinite>
  static __m256i e4m3_to_half(__m256i high) {  // codes in the upper bytes, anything below; as load_e4m3
    __m256i half = _mm256_and_si256(_mm256_srai_epi16(high, 1), _mm256_set1_epi16(static_cast<short>(0xBF80)));
    if constexpr (!kFinite) {
      const __m256i magnitude = _mm256_and_si256(high, _mm256_set1_epi16(0x7F00));
      const __m256i nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7F00));
      half = _mm256_or_si256(half, _mm256_and_si256(nan, _mm256_set1_epi16(0x7E00)));
    }
    return half;
  }
  template <bool kFinite>
  static void load_e4m3_pairs(const std::uint8_t* in, F (&even)[2], F (&odd)[2]) {
    const __m256i words = load_words(in);
    halves(e4m3_to_half<kFinite>(_mm256_slli_epi16(words, 8)), even);
    halves(e4m3_to_half<kFinite>(words), odd);
  }
  static void load_e5m2_pairs(const std::uint8_t* in, F (&even)[2], F (&odd)[2]) {
    const __m256i words = load_words(in);
    halves(_mm256_slli_epi16(words, 8), even);
    halves(_mm256_and_si256(words, _mm256_set1_epi16(static_cast<short>(0xFF00))), odd);
  }
  static void load_table_pairs(const std::uint8_t* in, const float* table, F (&even)[2], F (&odd)[2]) {
    for (std::size_t i = 0; i < 2; ++i, in += 2 * kLanes) {
      even[i] = _mm256_setr_ps(table[in[0]], table[in[2]], table[in[4]], table[in[6]], table[in[8]], table[in[10]],
                               table[in[12]], table[in[14]]);
      odd[i] = _mm256_setr_ps(table[in[1]], table[in[3]], table[in[5]], table[in[7]], table[in[9]], table[in[11]],
                              table[in[13]], table[in[15]]);
    }
  }
  static void load_bf16_pairs(const std::uint16_t* in, F (&even)[2], F (&odd)[2]) {
    for (std::size_t i = 0; i < 2; ++i) {
      const __m256i pairs = load_words(in + 2 * kLanes * i);
      even[i] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
      odd[i] = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xFFFF0000))));
    }
  }
};

}  // namespace

Kernels kernels() { return impl::kernels<V>(); }

}  // namespace octavo::cpu::avx2

#endif
