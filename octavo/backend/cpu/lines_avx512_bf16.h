// A line of a panel (32 outputs, two elements of K each) as BF16 pairs in two registers, for AVX-512 with VBMI. For
// files named for instruction sets that include it alone: what is defined here is compiled in each of them.
//
// A code without its sign finds the two bytes of its BF16 number in two tables of 128 bytes (vpermi2b); subnormal codes
// are normal BF16 numbers, so nothing is lost. Low and high bytes interleave within each 16 bytes, which leaves the
// outputs of a panel in another order until end().
#pragma once

#include "octavo/backend/cpu/traits_avx512.h"

namespace octavo::cpu {
namespace {

template <bool kNegativeZeroIsNan>
struct LineFp8 {
  static constexpr std::uint64_t kBytes = 1;
  static void load(const std::byte* line, const LinearArgs& a, __m512i (&pairs)[2]) {
    const auto table = [](const std::uint8_t* from) { return _mm512_load_si512(from); };
    const __m512i codes = _mm512_loadu_si512(line);
    __m512i low = _mm512_permutex2var_epi8(table(a.bf16_table->low), codes, table(a.bf16_table->low + 64));
    __m512i high = _mm512_permutex2var_epi8(table(a.bf16_table->high), codes, table(a.bf16_table->high + 64));
    constexpr int kOrSign = 0xF8;  // high | (codes & sign)
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    high = _mm512_ternarylogic_epi32(high, codes, sign, kOrSign);
    if constexpr (kNegativeZeroIsNan) {
      const __mmask64 nan = _mm512_cmpeq_epi8_mask(codes, sign);
      high = _mm512_mask_mov_epi8(high, nan, _mm512_set1_epi8(0x7F));
      low = _mm512_mask_mov_epi8(low, nan, _mm512_set1_epi8(static_cast<char>(0xC0)));
    }
    pairs[0] = _mm512_unpacklo_epi8(low, high);
    pairs[1] = _mm512_unpackhi_epi8(low, high);
  }
  static void end(V::F (&sums)[2]) {
    // Outputs 8 L ... 8 L + 3 stand in lane L (of four floats) of the first, the next four in that of the second.
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    const V::F first = _mm512_permutex2var_ps(sums[0], low, sums[1]);
    sums[1] = _mm512_permutex2var_ps(sums[0], high, sums[1]);
    sums[0] = first;
  }
  // The order of outputs to that of lanes: what end() undoes.
  static void begin(V::F (&values)[2]) {
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(4));
    const V::F first = _mm512_permutex2var_ps(values[0], low, values[1]);
    values[1] = _mm512_permutex2var_ps(values[0], high, values[1]);
    values[0] = first;
  }
};

struct LineBf16 {
  static constexpr std::uint64_t kBytes = 2;
  static void load(const std::byte* line, const LinearArgs&, __m512i (&pairs)[2]) {
    pairs[0] = _mm512_loadu_si512(line);
    pairs[1] = _mm512_loadu_si512(line + 64);
  }
  static void end(V::F (&)[2]) {}
  static void begin(V::F (&)[2]) {}
};

// Calls body.operator()<Line>() for the weight's elements.
template <typename Body>
void visit_line(const LinearArgs& a, const Body& body) {
  if (a.element == Element::kBF16) return body.template operator()<LineBf16>();
  if (a.negative_zero_is_nan) return body.template operator()<LineFp8<true>>();
  return body.template operator()<LineFp8<false>>();
}

}  // namespace
}  // namespace octavo::cpu
