// Encode kernels for AVX-512 (F, BW, DQ, VL): 16 floats a vector. Tails are masked.
#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics start from an undefined vector, of which it then warns (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include "octavo/backend/cpu/decode_impl.h"
#include "octavo/backend/cpu/encode_bf16_impl.h"
#include "octavo/backend/cpu/encode_tables.h"

namespace octavo::cpu::avx512 {
namespace {

struct V {
  using F = __m512;
  using U = __m512i;
  using D = __m512d;
  using Mask = __mmask16;
  using WordMask = __mmask32;
  static constexpr std::size_t kLanes = 16, kWordLanes = 32;

  static Mask first(std::size_t n) { return static_cast<Mask>((1u << n) - 1); }  // n < 16
  static F bf16_to_f32(__m256i a) { return floats(_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16)); }
  static __m256i load256(const void* in) { return _mm256_loadu_si256(static_cast<const __m256i*>(in)); }

  static F load_bf16(const std::uint16_t* in) { return bf16_to_f32(load256(in)); }
  static F load_f16(const std::uint16_t* in) { return _mm512_cvtph_ps(load256(in)); }
  static F load_f32(const float* in) { return _mm512_loadu_ps(in); }
  static U load_words(const std::uint16_t* in) { return _mm512_loadu_si512(in); }
  static F load_tail_bf16(const std::uint16_t* in, std::size_t n) {
    return bf16_to_f32(_mm256_maskz_loadu_epi16(first(n), in));
  }
  static F load_tail_f16(const std::uint16_t* in, std::size_t n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), in));
  }
  static F load_tail_f32(const float* in, std::size_t n) { return _mm512_maskz_loadu_ps(first(n), in); }
  static U load_tail_words(const std::uint16_t* in, std::size_t n) {
    return _mm512_maskz_loadu_epi16((__mmask32{1} << n) - 1, in);
  }

  static void store_bytes(std::uint8_t* out, U a) {
    _mm_storeu_si128(static_cast<__m128i*>(static_cast<void*>(out)), _mm512_cvtepi32_epi8(a));
  }
  static void store_bytes4(std::uint8_t* out, U a, U b, U c, U d) {
    store_bytes(out, a);
    store_bytes(out + kLanes, b);
    store_bytes(out + 2 * kLanes, c);
    store_bytes(out + 3 * kLanes, d);
  }
  static void store_high_bytes2(std::uint8_t* out, U a, U b) {
    // The pack works within 128-bit quarters, whose halves the permutation puts in order.
    const U bytes = _mm512_packus_epi16(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), bytes));
  }
  static void store_tail_high_bytes(std::uint8_t* out, std::size_t n, U a) {
    const auto first = static_cast<__mmask32>((std::uint64_t{1} << n) - 1);  // n <= 32
    _mm256_mask_storeu_epi8(out, first, _mm512_cvtepi16_epi8(_mm512_srli_epi16(a, 8)));
  }
  static void store_words(std::uint16_t* out, U a) {
    _mm256_storeu_si256(static_cast<__m256i*>(static_cast<void*>(out)), _mm512_cvtepi32_epi16(a));
  }
  static void store_tail_bytes(std::uint8_t* out, std::size_t n, U a) {
    _mm_mask_storeu_epi8(out, first(n), _mm512_cvtepi32_epi8(a));
  }
  static U load_dwords(const std::uint32_t* in) { return _mm512_loadu_si512(in); }
  static void store_dwords(std::uint32_t* out, U a) { _mm512_storeu_si512(out, a); }
  static void store_all_words(std::uint16_t* out, U a) { _mm512_storeu_si512(out, a); }
  static void store_tail_words(std::uint16_t* out, std::size_t n, U a) {
    _mm256_mask_storeu_epi16(out, first(n), _mm512_cvtepi32_epi16(a));
  }

  static U set(std::uint32_t a) { return _mm512_set1_epi32(static_cast<int>(a)); }
  static U set_words(std::uint16_t a) { return _mm512_set1_epi16(static_cast<short>(a)); }
  template <typename T>
  static T keep(T a) {
    asm("" : "+v"(a));
    return a;
  }
  static F set_float(float a) { return _mm512_set1_ps(a); }
  static U bits(F a) { return _mm512_castps_si512(a); }
  static F floats(U a) { return _mm512_castsi512_ps(a); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static constexpr bool kSigned = true;
  static F max_magnitude(F a, F b) { return _mm512_range_ps(a, b, 0b0011); }
  static F min_magnitude(F a, F b) { return _mm512_range_ps(a, b, 0b0010); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static U add(U a, U b) { return _mm512_add_epi32(a, b); }
  static U min(U a, U b) { return _mm512_min_epu32(a, b); }
  static U max(U a, U b) { return _mm512_max_epu32(a, b); }
  static U max_words(U a, U b) { return _mm512_max_epu16(a, b); }
  static U min_words(U a, U b) { return _mm512_min_epu16(a, b); }
  static U bit_and(U a, U b) { return _mm512_and_si512(a, b); }
  static U bit_or(U a, U b) { return _mm512_or_si512(a, b); }
  template <int kCount>
  static U shift_right(U a) {
    return _mm512_srli_epi32(a, kCount);
  }
  template <std::uint32_t kBits>
  static U select_bits(U a, U b) {
    return _mm512_ternarylogic_epi32(set(kBits), a, b, 0xCA);  // truth table of: first ? second : third
  }
  static Mask is_nan(F a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
  static Mask is_zero(U a) { return _mm512_testn_epi32_mask(a, a); }
  static U zero_where(Mask m, U a) { return _mm512_maskz_mov_epi32(static_cast<Mask>(~m), a); }
  static U set_where(Mask m, U a, U b) { return _mm512_mask_mov_epi32(a, m, b); }
  static U or_where(Mask m, U a, U b) { return _mm512_mask_or_epi32(a, m, a, b); }

  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fmadd(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnmadd(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  template <int kCount>
  static U shift_left(U a) {
    return _mm512_slli_epi32(a, kCount);
  }
  static U madd_words(U a, U b) { return _mm512_madd_epi16(a, b); }
  static U merge_words(U odd_words, U odd, U even) { return _mm512_ternarylogic_epi32(odd_words, odd, even, 0xCA); }
  static U or_and(U a, U b, U c) { return _mm512_ternarylogic_epi32(a, b, c, 0xF8); }
  static WordMask is_zero_words(U a) { return _mm512_testn_epi16_mask(a, a); }
  static WordMask greater_words(U a, U b) { return _mm512_cmpgt_epu16_mask(a, b); }
  static bool any(WordMask m) { return m != 0; }
  static U zero_words_where(WordMask m, U a) { return _mm512_maskz_mov_epi16(~m, a); }
  static U set_words_where(WordMask m, U a, U b) { return _mm512_mask_mov_epi16(a, m, b); }

  static U load_codes(const std::uint8_t* in) { return _mm512_cvtepi8_epi16(load256(in)); }
  static U load_tail_codes(const std::uint8_t* in, std::size_t n) {
    return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8((__mmask32{1} << n) - 1, in));
  }
  static F f16_low(U words) { return _mm512_cvtph_ps(_mm512_castsi512_si256(words)); }
  static F f16_high(U words) { return _mm512_cvtph_ps(_mm512_extracti64x4_epi64(words, 1)); }
  static WordMask equal_words(U a, U b) { return _mm512_cmpeq_epi16_mask(a, b); }
  static U max_signed_words(U a, U b) { return _mm512_max_epi16(a, b); }
  static U subtract_words(U a, U b) { return _mm512_sub_epi16(a, b); }
  template <int kCount>
  static U shift_left_words(U a) {
    return _mm512_slli_epi16(a, kCount);
  }
  static void store_floats(float* out, F a) { _mm512_storeu_ps(out, a); }
  static void store_tail_floats(float* out, std::size_t n, F a) { _mm512_mask_storeu_ps(out, first(n), a); }

  static D zero_doubles() { return _mm512_setzero_pd(); }
  static D add_lanes(D total, F a) {
    const D low = _mm512_cvtps_pd(_mm512_castps512_ps256(a)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
    return _mm512_add_pd(total, _mm512_add_pd(low, high));
  }
  static double reduce_add(D a) { return _mm512_reduce_add_pd(a); }

  static std::uint32_t reduce_max(U a) { return _mm512_reduce_max_epu32(a); }
  static std::uint16_t reduce_max_words(U a) {
    // As 32-bit maxima of the odd words and of the even words.
    return static_cast<std::uint16_t>(reduce_max(max(shift_right<16>(a), bit_and(a, set(0xFFFF)))));
  }
};

}  // namespace

EncodeKernels encode_kernels() {
  EncodeKernels k = encode_impl::kernels_without_division<V>();
  encode_impl::fill_decode<V>(k);
  return k;
}

}  // namespace octavo::cpu::avx512

#endif
