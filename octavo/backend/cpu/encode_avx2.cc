// Encode kernels for AVX2 with F16C: 8 floats a vector. Tails go through a small buffer.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#include "octavo/backend/cpu/decode_impl.h"
#include "octavo/backend/cpu/encode_bf16_impl.h"
#include "octavo/backend/cpu/encode_tables.h"

namespace octavo::cpu::avx2 {
namespace {

struct V {
  using F = __m256;
  using U = __m256i;
  using D = __m256d;
  using Mask = __m256i;
  using WordMask = __m256i;
  static constexpr std::size_t kLanes = 8, kWordLanes = 16;

  static __m128i load128(const void* in) { return _mm_loadu_si128(static_cast<const __m128i*>(in)); }
  static F load_bf16(const std::uint16_t* in) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(in)), 16));
  }
  static F load_f16(const std::uint16_t* in) { return _mm256_cvtph_ps(load128(in)); }
  static F load_f32(const float* in) { return _mm256_loadu_ps(in); }
  static U load_words(const std::uint16_t* in) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(in)));
  }

  template <typename T>
  struct Padded {
    T values[sizeof(U) / sizeof(T)] = {};
    Padded(const T* in, std::size_t n) { std::memcpy(values, in, n * sizeof(T)); }
  };
  static F load_tail_bf16(const std::uint16_t* in, std::size_t n) {
    return load_bf16(Padded<std::uint16_t>(in, n).values);
  }
  static F load_tail_f16(const std::uint16_t* in, std::size_t n) {
    return load_f16(Padded<std::uint16_t>(in, n).values);
  }
  static F load_tail_f32(const float* in, std::size_t n) { return load_f32(Padded<float>(in, n).values); }
  static U load_tail_words(const std::uint16_t* in, std::size_t n) {
    return load_words(Padded<std::uint16_t>(in, n).values);
  }

  // The packs work within 128-bit halves, hence the permutations; they saturate, but every lane fits (select_bits
  // clears what is above the byte).
  static __m128i low_bytes(U a) {
    const U words = _mm256_packus_epi32(a, a);
    const U bytes = _mm256_packus_epi16(words, words);
    return _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
  }
  static __m128i low_words(U a) {
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(a, a), 0b1000));
  }
  static void store_bytes(std::uint8_t* out, U a) {
    _mm_storel_epi64(static_cast<__m128i*>(static_cast<void*>(out)), low_bytes(a));
  }
  static void store_bytes4(std::uint8_t* out, U a, U b, U c, U d) {
    const U bytes = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
    const U ordered = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(static_cast<__m256i*>(static_cast<void*>(out)), ordered);
  }
  static void store_high_bytes2(std::uint8_t* out, U a, U b) {
    const U bytes = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
    _mm256_storeu_si256(static_cast<__m256i*>(static_cast<void*>(out)), _mm256_permute4x64_epi64(bytes, 0b11011000));
  }
  static void store_tail_high_bytes(std::uint8_t* out, std::size_t n, U a) {
    const U bytes = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), a);
    const U ordered = _mm256_permute4x64_epi64(bytes, 0b11011000);
    std::memcpy(out, &ordered, n);
  }
  static void store_words(std::uint16_t* out, U a) {
    _mm_storeu_si128(static_cast<__m128i*>(static_cast<void*>(out)), low_words(a));
  }
  static void store_tail_bytes(std::uint8_t* out, std::size_t n, U a) {
    const __m128i bytes = low_bytes(a);
    std::memcpy(out, &bytes, n);
  }
  static U load_dwords(const std::uint32_t* in) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(in)));
  }
  static void store_dwords(std::uint32_t* out, U a) { store_whole(out, a); }
  static void store_all_words(std::uint16_t* out, U a) { store_whole(out, a); }
  static void store_whole(void* out, U a) { _mm256_storeu_si256(static_cast<__m256i*>(out), a); }
  static void store_tail_words(std::uint16_t* out, std::size_t n, U a) {
    const __m128i words = low_words(a);
    std::memcpy(out, &words, n * sizeof(std::uint16_t));
  }

  static U set(std::uint32_t a) { return _mm256_set1_epi32(static_cast<int>(a)); }
  static U set_words(std::uint16_t a) { return _mm256_set1_epi16(static_cast<short>(a)); }
  template <typename T>
  static T keep(T a) {
    asm("" : "+x"(a));
    return a;
  }
  static F set_float(float a) { return _mm256_set1_ps(a); }
  static U bits(F a) { return _mm256_castps_si256(a); }
  static F floats(U a) { return _mm256_castsi256_ps(a); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static constexpr bool kSigned = false;
  static F max_magnitude(F a, F b) { return floats(max(bits(a), bits(b))); }
  static F min_magnitude(F a, F b) { return _mm256_min_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static U add(U a, U b) { return _mm256_add_epi32(a, b); }
  static U min(U a, U b) { return _mm256_min_epu32(a, b); }
  static U max(U a, U b) { return _mm256_max_epu32(a, b); }
  static U max_words(U a, U b) { return _mm256_max_epu16(a, b); }
  static U min_words(U a, U b) { return _mm256_min_epu16(a, b); }
  static U bit_and(U a, U b) { return _mm256_and_si256(a, b); }
  static U bit_or(U a, U b) { return _mm256_or_si256(a, b); }
  template <int kCount>
  static U shift_right(U a) {
    return _mm256_srli_epi32(a, kCount);
  }
  template <std::uint32_t kBits>
  static U select_bits(U a, U b) {
    return bit_or(bit_and(a, set(kBits)), bit_and(b, set(0xFF & ~kBits)));
  }
  static Mask is_nan(F a) { return bits(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
  static Mask is_zero(U a) { return _mm256_cmpeq_epi32(a, _mm256_setzero_si256()); }
  static U zero_where(Mask m, U a) { return _mm256_andnot_si256(m, a); }
  static U set_where(Mask m, U a, U b) { return _mm256_blendv_epi8(a, b, m); }
  static U or_where(Mask m, U a, U b) { return bit_or(a, bit_and(m, b)); }

  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F fmadd(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F fnmadd(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  template <int kCount>
  static U shift_left(U a) {
    return _mm256_slli_epi32(a, kCount);
  }
  static U madd_words(U a, U b) { return _mm256_madd_epi16(a, b); }
  static U merge_words(U, U odd, U even) { return _mm256_blend_epi16(even, odd, 0b10101010); }
  static U or_and(U a, U b, U c) { return bit_or(a, bit_and(b, c)); }
  static WordMask is_zero_words(U a) { return _mm256_cmpeq_epi16(a, _mm256_setzero_si256()); }
  static WordMask greater_words(U a, U b) { return _mm256_cmpgt_epi16(a, b); }  // of words below 2^15
  static bool any(WordMask m) { return !_mm256_testz_si256(m, m); }
  static U zero_words_where(WordMask m, U a) { return zero_where(m, a); }
  static U set_words_where(WordMask m, U a, U b) { return set_where(m, a, b); }

  static U load_codes(const std::uint8_t* in) { return _mm256_cvtepi8_epi16(load128(in)); }
  static U load_tail_codes(const std::uint8_t* in, std::size_t n) {
    std::uint8_t padded[kWordLanes] = {};
    std::memcpy(padded, in, n);
    return load_codes(padded);
  }
  static F f16_low(U words) { return _mm256_cvtph_ps(_mm256_castsi256_si128(words)); }
  static F f16_high(U words) { return _mm256_cvtph_ps(_mm256_extracti128_si256(words, 1)); }
  static WordMask equal_words(U a, U b) { return _mm256_cmpeq_epi16(a, b); }
  static U max_signed_words(U a, U b) { return _mm256_max_epi16(a, b); }
  static U subtract_words(U a, U b) { return _mm256_sub_epi16(a, b); }
  template <int kCount>
  static U shift_left_words(U a) {
    return _mm256_slli_epi16(a, kCount);
  }
  static void store_floats(float* out, F a) { _mm256_storeu_ps(out, a); }
  static void store_tail_floats(float* out, std::size_t n, F a) { std::memcpy(out, &a, n * sizeof(float)); }

  static D zero_doubles() { return _mm256_setzero_pd(); }
  static D add_lanes(D total, F a) {
    const D low = _mm256_cvtps_pd(_mm256_castps256_ps128(a)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
    return _mm256_add_pd(total, _mm256_add_pd(low, high));
  }
  static double reduce_add(D a) {
    const __m128d halves = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(halves, _mm_unpackhi_pd(halves, halves)));
  }

  static std::uint32_t reduce_max(U a) {
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0b01001110));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0b10110001));
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
  }
  static std::uint16_t reduce_max_words(U a) {
    const __m128i m = _mm_max_epu16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    // The largest is the complement of the smallest complement, for which there is an instruction.
    const __m128i ones = _mm_set1_epi16(-1);
    return static_cast<std::uint16_t>(~_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_xor_si128(m, ones))));
  }
};

}  // namespace

EncodeKernels encode_kernels() {
  EncodeKernels k = encode_impl::kernels_without_division<V>();
  encode_impl::fill_decode<V>(k);
  return k;
}

}  // namespace octavo::cpu::avx2

#endif
