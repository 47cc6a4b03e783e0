// The linear layer by multiply-adds on FP32, over a traits struct V that in addition to math_impl.h's has
//   kTileTokens, kFewTokens, groups_at_once(tokens)    what fits its registers
//   load_e4m3_pairs<kFinite>, load_e5m2_pairs, load_bf16_pairs, load_table_pairs(in, [table,] even, odd): the elements
//     of 2 * kLanes outputs, two of each next to each other, as floats: the first of each two, and the second
// Few tokens decode weights in registers; many decode a block of a panel to FP32 once, for all tokens.
#pragma once

#include "octavo/backend/cpu/linear_impl.h"

namespace octavo::cpu::impl {

template <typename V, bool kFinite>
struct LineE4M3 {
  static constexpr uint64_t kBytes = 1;
  static void load(const std::byte* in, const float*, typename V::F (&even)[2], typename V::F (&odd)[2]) {
    V::template load_e4m3_pairs<kFinite>(static_cast<const std::uint8_t*>(static_cast<const void*>(in)), even, odd);
  }
};
template <typename V>
struct LineE5M2 {
  static constexpr uint64_t kBytes = 1;
  static void load(const std::byte* in, const float*, typename V::F (&even)[2], typename V::F (&odd)[2]) {
    V::load_e5m2_pairs(static_cast<const std::uint8_t*>(static_cast<const void*>(in)), even, odd);
  }
};
template <typename V>
struct LineTable {
  static constexpr uint64_t kBytes = 1;
  static void load(const std::byte* in, const float* table, typename V::F (&even)[2], typename V::F (&odd)[2]) {
    V::load_table_pairs(static_cast<const std::uint8_t*>(static_cast<const void*>(in)), table, even, odd);
  }
};
template <typename V>
struct LineBf16 {
  static constexpr uint64_t kBytes = 2;
  static void load(const std::byte* in, const float*, typename V::F (&even)[2], typename V::F (&odd)[2]) {
    V::load_bf16_pairs(static_cast<const std::uint16_t*>(static_cast<const void*>(in)), even, odd);
  }
};
// The two elements of K lie in two rows of the panel.
template <typename V>
struct LineF32 {
  static constexpr uint64_t kBytes = 4;
  static void load(const std::byte* in, const float*, typename V::F (&even)[2], typename V::F (&odd)[2]) {
    const auto* values = static_cast<const float*>(static_cast<const void*>(in));
    for (uint64_t i = 0; i < 2; ++i) {
      even[i] = V::load(values + i * V::kLanes);
      odd[i] = V::load(values + kPanel + i * V::kLanes);
    }
  }
};

template <typename Traits, typename Line>
struct FmaMath {
  using V = Traits;
  using F = typename V::F;
  using X = float;
  static constexpr int kTileTokens = V::kTileTokens;
  static constexpr bool kStreamsBlocks = false;
  static constexpr int groups_at_once(int tokens) { return V::groups_at_once(tokens); }
  static constexpr uint64_t kLineBytes = kPair * kPanel * Line::kBytes;
  static constexpr uint64_t kGroupBytes = kGroup<V> * Line::kBytes * (Line::kBytes == 4 ? 1 : kPair);
  struct Weights {
    F even[2], odd[2];
  };
  static Weights load(const std::byte* line, const LinearArgs& a) {
    Weights w;
    Line::load(line, a.table, w.even, w.odd);
    return w;
  }
  static void add(F (&sums)[2], const Weights& w, const float* x) {
    const F first = V::set(x[0]), second = V::set(x[1]);
    sums[0] = V::fma(first, w.even[0], sums[0]);
    sums[1] = V::fma(first, w.even[1], sums[1]);
    sums[0] = V::fma(second, w.odd[0], sums[0]);
    sums[1] = V::fma(second, w.odd[1], sums[1]);
  }
  static void end(F (&)[2]) {}
};

// Calls body.operator()<Line>() for the element's loader.
template <typename V, typename Body>
void visit_line(Element element, const Body& body) {
  switch (element) {
    case Element::kE4M3: return body.template operator()<LineE4M3<V, false>>();
    case Element::kE4M3Finite: return body.template operator()<LineE4M3<V, true>>();
    case Element::kE5M2: return body.template operator()<LineE5M2<V>>();
    case Element::kTable: return body.template operator()<LineTable<V>>();
    case Element::kBF16: return body.template operator()<LineBf16<V>>();
    case Element::kF32: return body.template operator()<LineF32<V>>();
  }
}

// Elements of K that are decoded at a time: the fewest that any segment needs, as the panel should stay near the core.
inline constexpr uint64_t kDecodedK = kMaxSegment;

template <typename V>
constexpr uint64_t linear_scratch() {
  return totals_scratch<V>() + kDecodedK * kPanel;
}

// The lines of a block of a panel as FP32.
template <typename V, typename Line>
void decode_block(const LinearArgs& a, const Block& block, float* out) {
  using Math = FmaMath<V, Line>;
  const uint64_t begin = a.segment_begins[block.first_segment], end = a.segment_begins[block.end_segment];
  const std::byte* line = a.weight + block.panel * a.panel_bytes + begin / kPair * Math::kLineBytes;
  for (uint64_t k = begin; k < end; k += kPair, line += Math::kLineBytes, out += kPair * kPanel) {
    prefetch<V>(line + kAhead, Math::kLineBytes);
    for (uint64_t g = 0; g < kGroups<V>; ++g) {
      typename V::F even[2], odd[2];
      Line::load(line + g * Math::kGroupBytes, a.table, even, odd);
      float* to = out + g * kGroup<V>;
      V::store(to, even[0]);
      V::store(to + V::kLanes, even[1]);
      V::store(to + kPanel, odd[0]);
      V::store(to + kPanel + V::kLanes, odd[1]);
    }
  }
}

template <typename V>
void linear(const LinearArgs& a, uint64_t panel_begin, uint64_t panel_end, float* scratch) {
  const uint64_t tokens = a.token_tiles[a.tiles];
  visit_line<V>(a.element, [&]<typename Line>() {
    if (tokens <= V::kFewTokens) {
      return with_count<V::kFewTokens>(
          tokens, [&]<int kTokens>() { linear_few<FmaMath<V, Line>, kTokens>(a, panel_begin, panel_end); });
    }
    float* decoded = scratch + totals_scratch<V>();
    linear_many<FmaMath<V, LineF32<V>>, kDecodedK>(a, panel_begin, panel_end, scratch, [&](const Block& block) {
      decode_block<V, Line>(a, block, decoded);
      return static_cast<const std::byte*>(static_cast<const void*>(decoded));
    });
  });
}

}  // namespace octavo::cpu::impl
