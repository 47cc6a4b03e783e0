// Encode kernels for AVX-512 (F, BW, DQ, VL): 16 floats a vector. Tails are masked.
#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics start from an undefined vector, of which it then warns (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include "octavo/backend/cpu/encode_impl.h"
#include "octavo/backend/cpu/encode_tables.h"

namespace octavo::cpu::avx512 {
namespace {

struct V {
  using F = __m512;
  using U = __m512i;
  using Mask = __mmask16;
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
  static void store_words(std::uint16_t* out, U a) {
    _mm256_storeu_si256(static_cast<__m256i*>(static_cast<void*>(out)), _mm512_cvtepi32_epi16(a));
  }
  static void store_tail_bytes(std::uint8_t* out, std::size_t n, U a) {
    _mm_mask_storeu_epi8(out, first(n), _mm512_cvtepi32_epi8(a));
  }
  static void store_tail_words(std::uint16_t* out, std::size_t n, U a) {
    _mm256_mask_storeu_epi16(out, first(n), _mm512_cvtepi32_epi16(a));
  }

  static U set(std::uint32_t a) { return _mm512_set1_epi32(static_cast<int>(a)); }
  static U set_words(std::uint16_t a) { return _mm512_set1_epi16(static_cast<short>(a)); }
  static F set_float(float a) { return _mm512_set1_ps(a); }
  static U bits(F a) { return _mm512_castps_si512(a); }
  static F floats(U a) { return _mm512_castsi512_ps(a); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static U add(U a, U b) { return _mm512_add_epi32(a, b); }
  static U min(U a, U b) { return _mm512_min_epu32(a, b); }
  static U max(U a, U b) { return _mm512_max_epu32(a, b); }
  static U max_words(U a, U b) { return _mm512_max_epu16(a, b); }
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

  static std::uint32_t reduce_max(U a) { return _mm512_reduce_max_epu32(a); }
  static std::uint16_t reduce_max_words(U a) {
    // As 32-bit maxima of the odd words and of the even words.
    return static_cast<std::uint16_t>(reduce_max(max(shift_right<16>(a), bit_and(a, set(0xFFFF)))));
  }
};

}  // namespace

EncodeKernels encode_kernels() { return encode_impl::kernels<V>(); }

}  // namespace octavo::cpu::avx512

#endif
