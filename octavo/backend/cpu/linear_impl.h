// The linear layer, once for every instruction set (math_impl.h says how).
//
// Order of additions, whatever the number of tokens: within a segment lane l of an accumulator takes the elements
// k = l, l + kLanes, l + 2 kLanes, ... in turn; then total[l] += accumulator[l] * scale of the segment; at the end the
// lanes of the total are added as a tree. Few tokens (the weight is decoded in registers) and many (decoded once to
// memory that stays in the first cache, for all tokens) share tile(), so they cannot differ in a bit.
#pragma once

#include "octavo/backend/cpu/math_impl.h"

namespace octavo::cpu::impl {

template <typename V, bool kFinite>
struct LoadE4M3 {
  static constexpr uint64_t kBytes = 1;
  static typename V::F at(const std::byte* in, const float*) {
    return V::template load_e4m3<kFinite>(static_cast<const std::uint8_t*>(static_cast<const void*>(in)));
  }
};
template <typename V>
struct LoadE5M2 {
  static constexpr uint64_t kBytes = 1;
  static typename V::F at(const std::byte* in, const float*) {
    return V::load_e5m2(static_cast<const std::uint8_t*>(static_cast<const void*>(in)));
  }
};
template <typename V>
struct LoadTable {
  static constexpr uint64_t kBytes = 1;
  static typename V::F at(const std::byte* in, const float* table) {
    return V::load_table(static_cast<const std::uint8_t*>(static_cast<const void*>(in)), table);
  }
};
template <typename V>
struct LoadBf16 {
  static constexpr uint64_t kBytes = 2;
  static typename V::F at(const std::byte* in, const float*) {
    return V::load_bf16(static_cast<const std::uint16_t*>(static_cast<const void*>(in)));
  }
};
template <typename V>
struct LoadF32 {
  static constexpr uint64_t kBytes = 4;
  static typename V::F at(const std::byte* in, const float*) {
    return V::load(static_cast<const float*>(static_cast<const void*>(in)));
  }
};

// Calls body.operator()<Load>() for the element's loader.
template <typename V, typename Body>
void visit_element(Element element, const Body& body) {
  switch (element) {
    case Element::kE4M3: return body.template operator()<LoadE4M3<V, false>>();
    case Element::kE4M3Finite: return body.template operator()<LoadE4M3<V, true>>();
    case Element::kE5M2: return body.template operator()<LoadE5M2<V>>();
    case Element::kTable: return body.template operator()<LoadTable<V>>();
    case Element::kBF16: return body.template operator()<LoadBf16<V>>();
    case Element::kF32: return body.template operator()<LoadF32<V>>();
  }
}

// `in` can be read up to a multiple of kPad elements.
template <typename V>
void decode(Element element, const float* table, const std::byte* in, uint64_t count, float* out) {
  visit_element<V>(element, [&]<typename Load>() {
    uint64_t i = 0;
    for (; i + V::kLanes <= count; i += V::kLanes) V::store(out + i, Load::at(in + i * Load::kBytes, table));
    if (i < count) store_tail<V>(out + i, count - i, Load::at(in + i * Load::kBytes, table));
  });
}

inline constexpr int kRows = 4;  // of the weight, in a tile
static_assert(kTileRows % kRows == 0);

// sums[t][r] += x[t] . w[r] over `count` elements, a multiple of kLanes.
template <typename V, typename Load, int kTokens>
[[gnu::always_inline]] inline void tile(const float* const (&x)[kTokens], const std::byte* const (&w)[kRows],
                                        const float* table, uint64_t count, typename V::F (&sums)[kTokens][kRows]) {
  for (uint64_t k = 0; k < count; k += V::kLanes) {
    typename V::F weights[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) weights[r] = Load::at(w[r] + k * Load::kBytes, table);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const typename V::F values = V::load(x[t] + k);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sums[t][r] = V::fma(values, weights[r], sums[t][r]);
    }
  }
}

typedef float Quad __attribute__((vector_size(kRows * sizeof(float))));  // a value for each row of a tile

// What the outputs of kRows rows of the weight have in common, whatever the token. Rows beyond the end repeat the last.
template <typename V>
struct OutputRows {
  uint64_t n = 0, count = 0;        // the first row, and how many there are
  const float* scales[kRows] = {};  // of segments, or null
  Quad row_scales = {}, bias = {};

  void set(const LinearArgs& a, uint64_t first, uint64_t end) {
    n = first;
    count = end - first < kRows ? end - first : kRows;
    for (uint64_t r = 0; r < kRows; ++r) {
      const uint64_t row = n + (r < count ? r : count - 1);
      const uint64_t block = row / a.block_n;
      scales[r] = a.segment_scales == nullptr ? nullptr : a.segment_scales + block * a.segments;
      row_scales[r] = a.row_scales == nullptr ? 1 : a.row_scales[block];
      bias[r] = a.bias == nullptr ? 0 : a.bias[row];
    }
  }

  // The outputs of one token from the sums over lanes.
  void finish(const LinearArgs& a, uint64_t token, Quad sums) const {
    Quad y = sums * a.factor;
    if (a.x_row_scales != nullptr) y = y * a.x_row_scales[token];
    if (a.row_scales != nullptr) y = y * row_scales;
    if (a.bias != nullptr) y = y + bias;
    float* out = a.out + token * a.out_stride + n;
    if (count == kRows) {
      Quad before = {};
      if (a.add) {
        __builtin_memcpy(&before, out, sizeof before);
        y = before + y;
      }
      __builtin_memcpy(out, &y, sizeof y);
      return;
    }
    for (uint64_t r = 0; r < count; ++r) out[r] = a.add ? out[r] + y[r] : y[r];
  }
};

// totals[t][r] += x[t] . w[r] of one segment * its scales. x and w: at the beginning of the segment.
template <typename V, typename Load, int kTokens>
[[gnu::always_inline]] inline void add_segment(const LinearArgs& a, uint64_t token, uint64_t segment,
                                               const float* const (&x)[kTokens], const std::byte* const (&w)[kRows],
                                               const float* const (&scales)[kRows],
                                               typename V::F (&totals)[kTokens][kRows]) {
  using F = typename V::F;
  F sums[kTokens][kRows] = {};
  tile<V, Load, kTokens>(x, w, a.table, a.segment_begins[segment + 1] - a.segment_begins[segment], sums);
  F w_scales[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) w_scales[r] = V::set(scales[r] == nullptr ? 1 : scales[r][segment]);
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    if (a.x_segment_scales != nullptr) {
      const F x_scale = V::set(a.x_segment_scales[(token + static_cast<uint64_t>(t)) * a.segments + segment]);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) totals[t][r] = V::fma(sums[t][r], w_scales[r] * x_scale, totals[t][r]);
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) totals[t][r] = V::fma(sums[t][r], w_scales[r], totals[t][r]);
    }
  }
}

// Few tokens: the weight passes through the registers once.
template <typename V, typename Load, int kTokens>
void linear_few(const LinearArgs& a, uint64_t n_begin, uint64_t n_end) {
  for (uint64_t n = n_begin; n < n_end; n += kRows) {
    OutputRows<V> rows;
    rows.set(a, n, n_end);
    typename V::F totals[kTokens][kRows] = {};
    for (uint64_t s = 0; s < a.segments; ++s) {
      const uint64_t begin = a.segment_begins[s];
      const float* x[kTokens];
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) x[t] = a.x + static_cast<uint64_t>(t) * a.x_stride + begin;
      const std::byte* w[kRows];
#pragma GCC unroll 8
      for (uint64_t r = 0; r < kRows; ++r) {
        w[r] = a.weight + (n + (r < rows.count ? r : rows.count - 1)) * a.row_bytes + begin * Load::kBytes;
      }
      add_segment<V, Load, kTokens>(a, 0, s, x, w, rows.scales, totals);
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) rows.finish(a, static_cast<uint64_t>(t), V::reduce_add4(totals[t]));
  }
}

// Consecutive segments of kTileRows rows of a weight, decoded.
struct Panel {
  uint64_t first_segment, end_segment;
  bool first, last;     // of the panels of K
  const float* values;  // [kTileRows, kMaxSegment]
  float* totals;        // [tokens, kTileRows, kLanes]: of the panels before
};

// Adds a panel to the totals of kTokens tokens, for kRows rows that begin at `row` of the tile; finishes after the
// last.
template <typename V, int kTokens>
void add_panel(const LinearArgs& a, uint64_t token, const Panel& panel, uint64_t row, const OutputRows<V>& rows) {
  using F = typename V::F;
  const uint64_t panel_begin = a.segment_begins[panel.first_segment];
  F totals[kTokens][kRows] = {};
  const auto stored = [&](int t, int r) {
    const uint64_t at = (token + static_cast<uint64_t>(t)) * kTileRows + row + static_cast<uint64_t>(r);
    return panel.totals + at * V::kLanes;
  };
  if (!panel.first) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) totals[t][r] = V::load(stored(t, r));
    }
  }
  for (uint64_t s = panel.first_segment; s < panel.end_segment; ++s) {
    const uint64_t begin = a.segment_begins[s];
    const float* x[kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) x[t] = a.x + (token + static_cast<uint64_t>(t)) * a.x_stride + begin;
    const std::byte* w[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const float* from = panel.values + (row + static_cast<uint64_t>(r)) * kMaxSegment + (begin - panel_begin);
      w[r] = static_cast<const std::byte*>(static_cast<const void*>(from));
    }
    add_segment<V, LoadF32<V>, kTokens>(a, token, s, x, w, rows.scales, totals);
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    if (panel.last) {
      rows.finish(a, token + static_cast<uint64_t>(t), V::reduce_add4(totals[t]));
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) V::store(stored(t, r), totals[t][r]);
    }
  }
}

template <typename V>
constexpr uint64_t linear_scratch() {
  return kTileRows * kMaxSegment + kMaxTokens * kTileRows * V::kLanes;
}

// Many tokens: as much of kTileRows rows as kMaxSegment elements of K is decoded, then used for every token.
template <typename V, typename Load>
void linear_many(const LinearArgs& a, uint64_t n_begin, uint64_t n_end, float* scratch) {
  float* values = scratch;
  for (uint64_t n = n_begin; n < n_end; n += kTileRows) {
    const uint64_t tile_end = n_end - n < kTileRows ? n_end : n + kTileRows;
    OutputRows<V> outputs[kTileRows / kRows];
    for (uint64_t row = n; row < tile_end; row += kRows) outputs[(row - n) / kRows].set(a, row, tile_end);
    for (uint64_t s = 0; s < a.segments;) {
      const uint64_t begin = a.segment_begins[s];
      uint64_t next = s + 1;
      while (next < a.segments && a.segment_begins[next + 1] - begin <= kMaxSegment) ++next;
      const uint64_t count = a.segment_begins[next] - begin;
      for (uint64_t row = n; row < tile_end; ++row) {
        const std::byte* from = a.weight + row * a.row_bytes + begin * Load::kBytes;
        float* to = values + (row - n) * kMaxSegment;
        for (uint64_t k = 0; k < count; k += V::kLanes) V::store(to + k, Load::at(from + k * Load::kBytes, a.table));
      }
      const Panel panel = {s, next, s == 0, next == a.segments, values, scratch + kTileRows * kMaxSegment};
      uint64_t token = 0;
      const auto add = [&]<int kTokens>() {
        for (uint64_t row = n; row < tile_end; row += kRows) {
          add_panel<V, kTokens>(a, token, panel, row - n, outputs[(row - n) / kRows]);
        }
        token += kTokens;
      };
      while (token + V::kTileTokens <= a.tokens) add.template operator()<V::kTileTokens>();
      switch (a.tokens - token) {
        case 1: add.template operator()<1>(); break;
        case 2: add.template operator()<2>(); break;
        case 3: add.template operator()<3>(); break;
        case 4: add.template operator()<4>(); break;
        case 5: add.template operator()<5>(); break;
        default: break;
      }
      s = next;
    }
  }
}

template <typename V>
void linear(const LinearArgs& a, uint64_t n_begin, uint64_t n_end, float* scratch) {
  visit_element<V>(a.element, [&]<typename Load>() {
    switch (a.tokens) {
      case 0: return;
      case 1: return linear_few<V, Load, 1>(a, n_begin, n_end);
      case 2: return linear_few<V, Load, 2>(a, n_begin, n_end);
      case 3: return linear_few<V, Load, 3>(a, n_begin, n_end);
      default: return linear_many<V, Load>(a, n_begin, n_end, scratch);
    }
  });
}

}  // namespace octavo::cpu::impl
