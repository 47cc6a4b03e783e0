// Kernels for AVX-512 with BF16 and VBMI: linear layers by dot products of BF16 pairs; everything else is AVX-512's.
//
// A code without its sign finds the two bytes of its BF16 number in two tables of 128 bytes (vpermi2b); subnormal codes
// are normal BF16 numbers, so nothing is lost. Low and high bytes interleave within each 16 bytes, which leaves the
// outputs of a panel in another order until end().
//
// vdpbf16ps adds the products of the second elements, then those of the first, each with one rounding to FP32, and
// takes subnormal BF16 numbers for zero: inputs below 2^-126.
#if defined(__x86_64__)

#include "octavo/backend/cpu/traits_avx512.h"

namespace octavo::cpu::avx512_bf16 {
namespace {

struct Weights {
  __m512i values[2];
};

template <typename Line>
struct Bf16Math {
  using V = cpu::V;
  using F = V::F;
  using X = std::uint16_t;
  static constexpr int kTileTokens = 12;
  static constexpr bool kStreamsBlocks = true;
  static constexpr int groups_at_once(int tokens) { return tokens <= 2 ? 4 : tokens <= 6 ? 2 : 1; }
  static constexpr std::uint64_t kLineBytes = kPair * kPanel * Line::kBytes;
  static constexpr std::uint64_t kGroupBytes = kLineBytes;
  using Weights = avx512_bf16::Weights;
  static Weights load(const std::byte* line, const LinearArgs& a) { return Line::load(line, a); }
  static void add(F (&sums)[2], const Weights& w, const std::uint16_t* x) {
    int pair;
    __builtin_memcpy(&pair, x, sizeof pair);
    const __m512i both = _mm512_set1_epi32(pair);
    sums[0] = dot(sums[0], both, w.values[0]);
    sums[1] = dot(sums[1], both, w.values[1]);
  }
  static void end(F (&sums)[2]) { Line::end(sums); }

 private:
  static F dot(F sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, __builtin_bit_cast(__m512bh, a), __builtin_bit_cast(__m512bh, b));
  }
};

template <bool kNegativeZeroIsNan>
struct LineFp8 {
  static constexpr std::uint64_t kBytes = 1;
  static Weights load(const std::byte* line, const LinearArgs& a) {
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
    return {{_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)}};
  }
  static void end(V::F (&sums)[2]) {
    // Outputs 8 L ... 8 L + 3 stand in lane L (of four floats) of the first, the next four in that of the second.
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    const V::F first = _mm512_permutex2var_ps(sums[0], low, sums[1]);
    sums[1] = _mm512_permutex2var_ps(sums[0], high, sums[1]);
    sums[0] = first;
  }
};

struct LineBf16 {
  static constexpr std::uint64_t kBytes = 2;
  static Weights load(const std::byte* line, const LinearArgs&) {
    return {{_mm512_loadu_si512(line), _mm512_loadu_si512(line + 64)}};
  }
  static void end(V::F (&)[2]) {}
};

constexpr std::uint64_t kBlockK = 512;  // of inputs and of a panel, that stay in the second cache

template <typename Line>
void linear_of(const LinearArgs& a, std::uint64_t panel_begin, std::uint64_t panel_end, float* scratch) {
  using Math = Bf16Math<Line>;
  if (a.tiles == 1) {
    return impl::with_count<Math::kTileTokens>(
        a.token_tiles[1], [&]<int kTokens>() { impl::linear_few<Math, kTokens>(a, panel_begin, panel_end); });
  }
  impl::linear_many<Math, kBlockK>(a, panel_begin, panel_end, scratch, [&](const impl::Block& block) {
    return a.weight + block.panel * a.panel_bytes + a.segment_begins[block.first_segment] / kPair * Math::kLineBytes;
  });
}

void linear(const LinearArgs& a, std::uint64_t panel_begin, std::uint64_t panel_end, float* scratch) {
  if (a.element == Element::kBF16) return linear_of<LineBf16>(a, panel_begin, panel_end, scratch);
  if (a.negative_zero_is_nan) return linear_of<LineFp8<true>>(a, panel_begin, panel_end, scratch);
  return linear_of<LineFp8<false>>(a, panel_begin, panel_end, scratch);
}

}  // namespace

Kernels kernels() {
  Kernels k = cpu::kernels(Isa::kAvx512, /*bf16=*/false);
  k.bf16_inputs = true;
  k.tile_tokens = Bf16Math<LineBf16>::kTileTokens;
  k.linear = linear;
  return k;
}

}  // namespace octavo::cpu::avx512_bf16

#endif
