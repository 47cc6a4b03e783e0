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

// One output from the sum of its products.
template <typename V>
void finish(const LinearArgs& a, uint64_t token, uint64_t n, float sum) {
  float y = sum * a.factor;
  if (a.x_row_scales != nullptr) y *= a.x_row_scales[token];
  if (a.row_scales != nullptr) y *= a.row_scales[n / a.block_n];
  if (a.bias != nullptr) y += a.bias[n];
  float& out = a.out[token * a.out_stride + n];
  out = a.add ? out + y : y;
}

// The scale of a segment for a token and a row of the weight.
template <typename V>
float scale_of(const LinearArgs& a, uint64_t token, uint64_t n, uint64_t segment) {
  float scale = 1;
  if (a.segment_scales != nullptr) scale = a.segment_scales[n / a.block_n * a.segments + segment];
  if (a.x_segment_scales != nullptr) scale *= a.x_segment_scales[token * a.segments + segment];
  return scale;
}

// Few tokens: the weight passes through the registers once.
template <typename V, typename Load, int kTokens>
void linear_few(const LinearArgs& a, uint64_t first_token, uint64_t n_begin, uint64_t n_end) {
  using F = typename V::F;
  for (uint64_t n = n_begin; n < n_end; n += kRows) {
    F totals[kTokens][kRows] = {};
    for (uint64_t s = 0; s < a.segments; ++s) {
      const uint64_t begin = a.segment_begins[s];
      const float* x[kTokens];
      for (int t = 0; t < kTokens; ++t) x[t] = a.x + (first_token + static_cast<uint64_t>(t)) * a.x_stride + begin;
      const std::byte* w[kRows];
      uint64_t rows[kRows];
      for (int r = 0; r < kRows; ++r) {
        // Beyond the end the last row again, whose results are dropped.
        rows[r] = n + static_cast<uint64_t>(r) < n_end ? n + static_cast<uint64_t>(r) : n_end - 1;
        w[r] = a.weight + rows[r] * a.row_bytes + begin * Load::kBytes;
      }
      F sums[kTokens][kRows] = {};
      tile<V, Load, kTokens>(x, w, a.table, a.segment_begins[s + 1] - begin, sums);
      for (int t = 0; t < kTokens; ++t) {
        for (int r = 0; r < kRows; ++r) {
          const F scale = V::set(scale_of<V>(a, first_token + static_cast<uint64_t>(t), rows[r], s));
          totals[t][r] = V::fma(sums[t][r], scale, totals[t][r]);
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (uint64_t r = 0; r < kRows && n + r < n_end; ++r) {
        finish<V>(a, first_token + static_cast<uint64_t>(t), n + r, V::reduce_add(totals[t][r]));
      }
    }
  }
}

// totals[t][r] += (tile over one segment) * scale, for kTokens tokens and all decoded rows of the weight.
template <typename V, int kTokens>
void add_segment(const LinearArgs& a, uint64_t token, uint64_t n, uint64_t rows, uint64_t segment, const float* decoded,
                 float* totals) {
  using F = typename V::F;
  const uint64_t begin = a.segment_begins[segment];
  const float* x[kTokens];
  for (int t = 0; t < kTokens; ++t) x[t] = a.x + (token + static_cast<uint64_t>(t)) * a.x_stride + begin;
  for (uint64_t row = 0; row < rows; row += kRows) {
    const std::byte* w[kRows];
    for (int r = 0; r < kRows; ++r) {
      w[r] = static_cast<const std::byte*>(
          static_cast<const void*>(decoded + (row + static_cast<uint64_t>(r)) * kMaxSegment));
    }
    F sums[kTokens][kRows] = {};
    tile<V, LoadF32<V>, kTokens>(x, w, nullptr, a.segment_begins[segment + 1] - begin, sums);
    for (int t = 0; t < kTokens; ++t) {
      for (int r = 0; r < kRows; ++r) {
        const uint64_t at = row + static_cast<uint64_t>(r);
        const uint64_t last = at < rows ? at : rows - 1;
        const F scale = V::set(scale_of<V>(a, token + static_cast<uint64_t>(t), n + last, segment));
        float* total = totals + ((token + static_cast<uint64_t>(t)) * kTileRows + at) * V::kLanes;
        V::store(total, V::fma(sums[t][r], scale, V::load(total)));
      }
    }
  }
}

template <typename V>
constexpr uint64_t linear_scratch() {
  return kTileRows * kMaxSegment + kMaxTokens * kTileRows * V::kLanes;
}

// Many tokens: a segment of kTileRows rows is decoded, then used for every token.
template <typename V, typename Load>
void linear_many(const LinearArgs& a, uint64_t n_begin, uint64_t n_end, float* scratch) {
  float* decoded = scratch;                           // [kTileRows, kMaxSegment]
  float* totals = scratch + kTileRows * kMaxSegment;  // [tokens, kTileRows, kLanes]
  for (uint64_t n = n_begin; n < n_end; n += kTileRows) {
    const uint64_t rows = n_end - n < kTileRows ? n_end - n : kTileRows;
    for (uint64_t i = 0; i < a.tokens * kTileRows * V::kLanes; i += V::kLanes) V::store(totals + i, V::set(0));
    for (uint64_t s = 0; s < a.segments; ++s) {
      const uint64_t begin = a.segment_begins[s];
      const uint64_t count = a.segment_begins[s + 1] - begin;
      for (uint64_t row = 0; row < rows; ++row) {
        const std::byte* from = a.weight + (n + row) * a.row_bytes + begin * Load::kBytes;
        for (uint64_t k = 0; k < count; k += V::kLanes) {
          V::store(decoded + row * kMaxSegment + k, Load::at(from + k * Load::kBytes, a.table));
        }
      }
      uint64_t token = 0;
      for (; token + V::kTileTokens <= a.tokens; token += V::kTileTokens) {
        add_segment<V, V::kTileTokens>(a, token, n, rows, s, decoded, totals);
      }
      for (; token < a.tokens; ++token) add_segment<V, 1>(a, token, n, rows, s, decoded, totals);
    }
    for (uint64_t token = 0; token < a.tokens; ++token) {
      for (uint64_t row = 0; row < rows; ++row) {
        finish<V>(a, token, n + row, V::reduce_add(V::load(totals + (token * kTileRows + row) * V::kLanes)));
      }
    }
  }
}

template <typename V>
void linear(const LinearArgs& a, uint64_t n_begin, uint64_t n_end, float* scratch) {
  visit_element<V>(a.element, [&]<typename Load>() {
    switch (a.tokens) {
      case 0: return;
      case 1: return linear_few<V, Load, 1>(a, 0, n_begin, n_end);
      case 2: return linear_few<V, Load, 2>(a, 0, n_begin, n_end);
      case 3: return linear_few<V, Load, 3>(a, 0, n_begin, n_end);
      default: return linear_many<V, Load>(a, n_begin, n_end, scratch);
    }
  });
}

}  // namespace octavo::cpu::impl
