// Kernels for AVX-512 with BF16 and VBMI: linear layers by dot products of BF16 pairs; everything else is AVX-512's.
//
// vdpbf16ps adds the products of the second elements, then those of the first, each with one rounding to FP32, and
// takes subnormal BF16 numbers for zero: inputs below 2^-126.
#if defined(__x86_64__)

#include "octavo/backend/cpu/lines_avx512_bf16.h"

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
  static Weights load(const std::byte* line, const LinearArgs& a) {
    Weights w;
    Line::load(line, a, w.values);
    return w;
  }
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
  visit_line(a, [&]<typename Line>() { linear_of<Line>(a, panel_begin, panel_end, scratch); });
}

}  // namespace

Kernels kernels() {
  Kernels k = cpu::kernels(Isa::kAvx512, /*bf16=*/false);
  k.inputs = InputForm::kBf16Pairs;
  k.tile_tokens = Bf16Math<LineBf16>::kTileTokens;
  k.linear = linear;
  return k;
}

}  // namespace octavo::cpu::avx512_bf16

#endif
