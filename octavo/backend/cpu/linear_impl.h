// The linear layer, once for every instruction set (math_impl.h says how) and for two ways of multiplying: FMA on FP32
// (linear_fma_impl.h) and BF16 dot products (kernels_avx512_bf16.cc), each a Math with
//   V, X                  the instruction set's traits; the type of an input
//   kLineBytes            of a pair of elements of K in a panel
//   kGroupBytes           of one group's part of it. A group is 2 * kLanes outputs, two accumulators.
//   Weights, load(line, args)    a line of one group in registers
//   add(sums, weights, x)        sums += both elements' products with x[0] and x[1]
//   kStreamsBlocks               whether the weights of many tokens come from memory, not from a decoded block
//   end(sums)                    after the last line of a segment: brings the lanes into the order of outputs
//
// Order of additions, whatever the number of tokens: an output's accumulator takes the elements of a segment in order
// (pairs, with BF16); then total += accumulator * scale of the segment, in order. An output never shares a lane, so
// there is nothing to add across lanes. Few tokens (totals in registers, several groups at once to hide latencies) and
// many (totals in memory between blocks of K, so that inputs and weights stay in the caches) share tile() and
// add_segment(), so they cannot differ in a bit.
#pragma once

#include "octavo/backend/cpu/math_impl.h"

namespace octavo::cpu::impl {

template <typename V>
inline constexpr uint64_t kGroup = 2 * V::kLanes;  // outputs
template <typename V>
inline constexpr uint64_t kGroups = kPanel / kGroup<V>;  // of a panel

// Tokens of a call. With 256 elements of K each, the most that is multiplied at a time, they stay in the second cache.
inline constexpr uint64_t kMaxTokens = 256;

// How far ahead of use a stream of weights is asked for, in bytes.
inline constexpr uint64_t kAhead = 2048, kCacheLine = 64;

template <typename V>
[[gnu::always_inline]] inline void prefetch(const std::byte* data, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes; at += kCacheLine) __builtin_prefetch(data + at);
}

// A segment's scales of 2 * kLanes outputs, from `column` of a panel on.
template <typename V>
[[gnu::always_inline]] inline void load_scales(const LinearArgs& a, uint64_t panel, uint64_t column, uint64_t segment,
                                               typename V::F (&scales)[2]) {
  scales[0] = scales[1] = V::set(1);
  if (a.segment_scales == nullptr) return;
  const float* from = a.segment_scales + (panel * a.segments + segment) * a.segment_scale_width;
  const bool one = a.segment_scale_width == 1;
  scales[0] = one ? V::set(*from) : V::load(from + column);
  scales[1] = one ? scales[0] : V::load(from + column + V::kLanes);
}

// Where a group's outputs are.
template <typename V>
struct Group {
  uint64_t panel = 0, column = 0;  // column: its first in the panel
  explicit Group(uint64_t index) : panel(index / kGroups<V>), column(index % kGroups<V> * kGroup<V>) {}
  uint64_t output() const { return panel * kPanel + column; }
};

// sums[t][g] += x[t] . w[g] over `pairs` pairs of K. x: [pairs, kTokens, 2]. kStream: the weights come from memory.
template <typename Math, bool kStream, int kTokens, int kCount>
[[gnu::always_inline]] inline void tile(const LinearArgs& a, const typename Math::X* x,
                                        const std::byte* const (&w)[kCount], uint64_t pairs,
                                        typename Math::V::F (&sums)[kTokens][kCount][2]) {
  using V = typename Math::V;
  for (uint64_t i = 0; i < pairs; ++i) {
    const typename Math::X* tokens = x + i * kTokens * kPair;
#pragma GCC unroll 8
    for (int g = 0; g < kCount; ++g) {
      const std::byte* line = w[g] + i * Math::kLineBytes;
      if constexpr (kStream) {
        prefetch<V>(line + kAhead, Math::kGroupBytes);
      }
      const typename Math::Weights weights = Math::load(line, a);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) Math::add(sums[t][g], weights, tokens + static_cast<uint64_t>(t) * kPair);
    }
  }
}

// totals[t][g] += x[t] . w[g] of one segment * its scales. x and w: at the beginning of the segment.
template <typename Math, bool kStream, int kTokens, int kCount>
[[gnu::always_inline]] inline void add_segment(const LinearArgs& a, uint64_t token, uint64_t segment,
                                               const typename Math::X* x, const std::byte* const (&w)[kCount],
                                               uint64_t first_group,
                                               typename Math::V::F (&totals)[kTokens][kCount][2]) {
  using V = typename Math::V;
  using F = typename V::F;
  F sums[kTokens][kCount][2] = {};
  tile<Math, kStream, kTokens, kCount>(a, x, w, (a.segment_begins[segment + 1] - a.segment_begins[segment]) / kPair,
                                       sums);
#pragma GCC unroll 8
  for (int g = 0; g < kCount; ++g) {
    const Group<V> group(first_group + static_cast<uint64_t>(g));
    F scales[2];
    load_scales<V>(a, group.panel, group.column, segment, scales);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      Math::end(sums[t][g]);
      F x_scale = V::set(1);
      if (a.x_segment_scales != nullptr) {
        x_scale = V::set(a.x_segment_scales[(token + static_cast<uint64_t>(t)) * a.segments + segment]);
      }
      totals[t][g][0] = V::fma(sums[t][g][0], scales[0] * x_scale, totals[t][g][0]);
      totals[t][g][1] = V::fma(sums[t][g][1], scales[1] * x_scale, totals[t][g][1]);
    }
  }
}

// The outputs of one token and group from their totals.
template <typename V>
void finish(const LinearArgs& a, uint64_t token, uint64_t first, const typename V::F (&totals)[2]) {
  using F = typename V::F;
  float* out = a.out + token * a.out_stride;
  for (uint64_t i = 0; i < 2; ++i) {
    const uint64_t n = first + i * V::kLanes;
    if (n >= a.n) return;
    F y = totals[i] * V::set(a.factor);
    if (a.x_row_scales != nullptr) y = y * V::set(a.x_row_scales[token]);
    if (a.row_scales != nullptr) y = y * V::load(a.row_scales + n);
    if (a.bias != nullptr) y = y + V::load(a.bias + n);
    if (n + V::kLanes <= a.n) {
      V::store(out + n, a.add ? V::load(out + n) + y : y);
    } else {
      if (a.add) y = load_tail<V>(out + n, a.n - n) + y;
      store_tail<V>(out + n, a.n - n, y);
    }
  }
}

// Few tokens: kCount groups from `first_group` on, over all of K.
template <typename Math, int kTokens, int kCount>
void add_groups(const LinearArgs& a, uint64_t first_group) {
  using V = typename Math::V;
  typename V::F totals[kTokens][kCount][2] = {};
  const auto* x = static_cast<const typename Math::X*>(a.x);
  const std::byte* from[kCount];
#pragma GCC unroll 8
  for (int g = 0; g < kCount; ++g) {
    const Group<V> group(first_group + static_cast<uint64_t>(g));
    from[g] = a.weight + group.panel * a.panel_bytes + group.column / kGroup<V> * Math::kGroupBytes;
  }
  for (uint64_t s = 0; s < a.segments; ++s) {
    const uint64_t begin = a.segment_begins[s];
    const std::byte* w[kCount];
#pragma GCC unroll 8
    for (int g = 0; g < kCount; ++g) w[g] = from[g] + begin / kPair * Math::kLineBytes;
    add_segment<Math, true, kTokens, kCount>(a, 0, s, x + begin * kTokens, w, first_group, totals);
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 8
    for (int g = 0; g < kCount; ++g) {
      finish<V>(a, static_cast<uint64_t>(t), Group<V>(first_group + static_cast<uint64_t>(g)).output(), totals[t][g]);
    }
  }
}

template <typename Math, int kTokens>
void linear_few(const LinearArgs& a, uint64_t panel_begin, uint64_t panel_end) {
  using V = typename Math::V;
  constexpr int kCount = Math::groups_at_once(kTokens);
  uint64_t group = panel_begin * kGroups<V>;
  const uint64_t end = panel_end * kGroups<V>;
  for (; group + kCount <= end; group += kCount) add_groups<Math, kTokens, kCount>(a, group);
  for (; group < end; ++group) add_groups<Math, kTokens, 1>(a, group);
}

// ---- many tokens

inline constexpr uint64_t kPanelsAtOnce = 4;  // that share a block of inputs in the second cache
template <typename V>
constexpr uint64_t totals_scratch() {
  return kMaxTokens * kPanelsAtOnce * kPanel;
}

// Consecutive segments of one panel.
struct Block {
  uint64_t panel = 0;
  uint64_t first_segment = 0, end_segment = 0;
  const std::byte* weight = nullptr;  // of the first segment
  float* totals = nullptr;            // [tokens, kPanel]: of the segments before
  bool first = false, last = false;   // of the blocks of K
};

template <typename Math, int kTokens>
void add_block(const LinearArgs& a, uint64_t token, const Block& block) {
  using V = typename Math::V;
  using F = typename V::F;
  const uint64_t block_begin = a.segment_begins[block.first_segment];
  const auto* x = static_cast<const typename Math::X*>(a.x) + token * a.x_stride;
  for (uint64_t g = 0; g < kGroups<V>; ++g) {
    F totals[kTokens][1][2];
    const auto stored = [&](int t, int i) {
      return block.totals + (token + static_cast<uint64_t>(t)) * kPanel + g * kGroup<V> +
             static_cast<uint64_t>(i) * V::kLanes;
    };
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      totals[t][0][0] = block.first ? V::set(0) : V::load(stored(t, 0));
      totals[t][0][1] = block.first ? V::set(0) : V::load(stored(t, 1));
    }
    for (uint64_t s = block.first_segment; s < block.end_segment; ++s) {
      const uint64_t begin = a.segment_begins[s];
      const std::byte* w[1] = {block.weight + g * Math::kGroupBytes + (begin - block_begin) / kPair * Math::kLineBytes};
      add_segment<Math, Math::kStreamsBlocks, kTokens, 1>(a, token, s, x + begin * kTokens, w,
                                                          block.panel * kGroups<V> + g, totals);
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      if (block.last) {
        finish<V>(a, token + static_cast<uint64_t>(t), block.panel * kPanel + g * kGroup<V>, totals[t][0]);
      } else {
        V::store(stored(t, 0), totals[t][0][0]);
        V::store(stored(t, 1), totals[t][0][1]);
      }
    }
  }
}

// Calls body.operator()<count>() for a count in [1, kMost].
template <int kMost, typename Body>
void with_count(uint64_t count, const Body& body) {
  if constexpr (kMost > 0) {
    if (count == kMost) return body.template operator()<kMost>();
    with_count<kMost - 1>(count, body);
  }
}

// `prepare(panel, block)` gives the place of the block's weights.
template <typename Math, uint64_t kBlockK, typename Prepare>
void linear_many(const LinearArgs& a, uint64_t panel_begin, uint64_t panel_end, float* totals, const Prepare& prepare) {
  for (uint64_t first = panel_begin; first < panel_end; first += kPanelsAtOnce) {
    const uint64_t end = first + kPanelsAtOnce < panel_end ? first + kPanelsAtOnce : panel_end;
    for (uint64_t s = 0; s < a.segments;) {
      Block block;
      block.first_segment = s;
      const uint64_t begin = a.segment_begins[s++];
      while (s < a.segments && a.segment_begins[s + 1] - begin <= kBlockK) ++s;
      block.end_segment = s;
      block.first = begin == 0;
      block.last = s == a.segments;
      for (block.panel = first; block.panel < end; ++block.panel) {
        block.weight = prepare(block);
        block.totals = totals + (block.panel - first) * kMaxTokens * kPanel;
        for (uint64_t i = 0; i < a.tiles; ++i) {
          with_count<Math::kTileTokens>(a.token_tiles[i + 1] - a.token_tiles[i],
                                        [&]<int kTokens>() { add_block<Math, kTokens>(a, a.token_tiles[i], block); });
        }
      }
    }
  }
}

}  // namespace octavo::cpu::impl
