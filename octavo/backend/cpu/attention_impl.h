// Attention over paged keys and values, once for every instruction set (math_impl.h says how).
//
// The positions of a sequence are cut at multiples of kChunk. A query goes through the chunks it sees in order, with
// the online softmax of flash attention: largest score m, sum l of e^(score - m), output o = sum of e^(score - m) v,
// all rescaled where a chunk raises m. Scores add over the head's dimensions in order; o adds over positions in order.
// After every kSplit positions that state is put aside and a new one begun; the states are merged in order. So the
// parts of a long context can be computed at the same time, and give the same bits as one after the other.
// So a query's result depends on its position alone, not on the queries that share the decoded chunk with it: prefill
// and decode give the same bits. What a query may not see is never multiplied, not even by zero.
#pragma once

#include "octavo/backend/cpu/elements_impl.h"

namespace octavo::cpu::impl {

inline constexpr float kMinusInfinity = -__builtin_inff();

// A call's scratch memory.
struct AttentionScratch {
  float* keys;     // [head_dim, kChunk]
  float* values;   // [kChunk, padded head_dim]
  float* queries;  // [queries, padded head_dim]
  float* scores;   // [queries, kChunk]
  // Of the split at hand, a query each: [o: padded head_dim | m | l].
  float* states;
  float* merged;  // of the splits before; the same
  uint64_t state_stride;

  // Inlined: what is compiled for one instruction set must not be called from another's file.
  [[gnu::always_inline]] float* output(uint64_t query) const { return states + query * state_stride; }
  [[gnu::always_inline]] float& largest(uint64_t query) const { return output(query)[state_stride - kPad]; }
  [[gnu::always_inline]] float& sum(uint64_t query) const { return output(query)[state_stride - kPad + 1]; }
};

template <typename V>
uint64_t attention_scratch(uint64_t head_dim) {
  const uint64_t padded = round_up<V>(head_dim, kPad);
  return 2 * padded * kChunk + kMaxQueries * (padded + kChunk + 2 * attention_state(head_dim));
}

template <typename V>
AttentionScratch divide_scratch(float* scratch, uint64_t head_dim) {
  const uint64_t padded = round_up<V>(head_dim, kPad);
  AttentionScratch s{};
  s.state_stride = attention_state(head_dim);
  s.keys = scratch;
  s.values = s.keys + padded * kChunk;
  s.queries = s.values + padded * kChunk;
  s.scores = s.queries + kMaxQueries * padded;
  s.states = s.scores + kMaxQueries * kChunk;
  s.merged = s.states + kMaxQueries * s.state_stride;
  return s;
}

template <typename V>
void clear_state(float* state, uint64_t stride) {
  for (uint64_t i = 0; i < stride; i += V::kLanes) V::store(state + i, V::set(0));
  state[stride - kPad] = kMinusInfinity;
}

template <typename V>
void copy_state(const float* from, uint64_t stride, float* to) {
  for (uint64_t i = 0; i < stride; i += V::kLanes) V::store(to + i, V::load(from + i));
}

// Adds what a later split found to what the ones before did. A query that saw nothing of a split has l = 0.
template <typename V>
void merge_state(const float* state, uint64_t stride, float* merged) {
  const uint64_t m = stride - kPad, l = m + 1;
  if (state[l] == 0) return;
  if (merged[l] == 0) {
    copy_state<V>(state, stride, merged);
    return;
  }
  const float top = merged[m] > state[m] ? merged[m] : state[m];
  float factors[V::kLanes];
  V::store(factors, exp<V>(V::set(merged[m]) - V::set(top)));
  const float before = factors[0];
  V::store(factors, exp<V>(V::set(state[m]) - V::set(top)));
  const float now = factors[0];
  for (uint64_t i = 0; i < m; i += V::kLanes) {
    V::store(merged + i, V::load(merged + i) * V::set(before) + V::load(state + i) * V::set(now));
  }
  merged[l] = merged[l] * before + state[l] * now;
  merged[m] = top;
}

// Decodes the positions [begin, end) of one chunk; begin is a multiple of kChunk or what a window leaves of it.
template <typename V, typename Load>
void load_chunk(const AttentionArgs& a, uint64_t begin, uint64_t end, uint64_t padded, const AttentionScratch& s) {
  const uint64_t base = begin / kChunk * kChunk;
  for (uint64_t p = begin; p < end;) {
    const uint64_t slot = p % a.block_size;
    const uint64_t lane = slot % kKeyGroup;
    // The tokens that share a group of keys and follow each other.
    uint64_t run = kKeyGroup - lane;
    if (run > a.block_size - slot) run = a.block_size - slot;
    if (run > end - p) run = end - p;
    const auto block = static_cast<uint64_t>(a.blocks[p / a.block_size]);
    const std::byte* keys =
        a.keys + block * a.key_block_bytes + slot / kKeyGroup * kKeyGroup * a.head_dim * Load::kBytes;
    const uint64_t column = p - base;
    // Lanes beyond the run are overwritten by the next run or never looked at.
    const bool whole = lane == 0 && column + kKeyGroup <= kChunk;
    for (uint64_t d = 0; d < a.head_dim; ++d) {
      float lanes[kKeyGroup];
      float* to = whole ? s.keys + d * kChunk + column : lanes;
      for (uint64_t i = 0; i < kKeyGroup; i += V::kLanes) {
        V::store(to + i, Load::at(keys + (d * kKeyGroup + i) * Load::kBytes, a.table));
      }
      if (whole) continue;
      for (uint64_t i = 0; i < run; ++i) s.keys[d * kChunk + column + i] = lanes[lane + i];
    }
    for (uint64_t i = 0; i < run; ++i) {
      const std::byte* values = a.values + block * a.value_block_bytes + (slot + i) * padded * Load::kBytes;
      float* to = s.values + (column + i) * padded;
      for (uint64_t d = 0; d < padded; d += V::kLanes) V::store(to + d, Load::at(values + d * Load::kBytes, a.table));
    }
    p += run;
  }
}

inline constexpr int kVectors = 4;  // of positions, or of a head's dimensions, in a tile

// scores[q, p] = queries[q] . keys[p] for kQueries queries and all columns below `columns`, rounded up to whole tiles.
template <typename V, int kQueries>
void score_tile(const AttentionScratch& s, uint64_t query, uint64_t head_dim, uint64_t padded, uint64_t columns) {
  using F = typename V::F;
  for (uint64_t p = 0; p < columns; p += kVectors * V::kLanes) {
    F sums[kQueries][kVectors] = {};
    const float* q = s.queries + query * padded;
    const float* keys = s.keys + p;
    for (uint64_t d = 0; d < head_dim; ++d) {
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        const F key = V::load(keys + d * kChunk + static_cast<uint64_t>(i) * V::kLanes);
#pragma GCC unroll 8
        for (int t = 0; t < kQueries; ++t) {
          sums[t][i] = V::fma(V::set(q[static_cast<uint64_t>(t) * padded + d]), key, sums[t][i]);
        }
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < kQueries; ++t) {
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        V::store(s.scores + (query + static_cast<uint64_t>(t)) * kChunk + p + static_cast<uint64_t>(i) * V::kLanes,
                 sums[t][i]);
      }
    }
  }
}
static_assert(kChunk % (kVectors * kPad) == 0, "a tile of scores must end with the chunk");

// Scores of a query to e^(score - m) in place, of columns [begin, end); the others become zero. Updates m and l and
// rescales o.
template <typename V>
void softmax_step(const AttentionArgs& a, const AttentionScratch& s, uint64_t query, uint64_t padded, uint64_t begin,
                  uint64_t end) {
  using F = typename V::F;
  float* scores = s.scores + query * kChunk;
  const F scale = V::set(a.scale);
  const F k_factor = V::set(a.k_factor);
  for (uint64_t i = 0; i < kChunk; i += V::kLanes) V::store(scores + i, V::load(scores + i) * k_factor * scale);
  for (uint64_t i = 0; i < begin; ++i) scores[i] = kMinusInfinity;
  for (uint64_t i = end; i < kChunk; ++i) scores[i] = kMinusInfinity;
  F top = V::set(s.largest(query));
  for (uint64_t i = 0; i < kChunk; i += V::kLanes) top = max<V>(top, V::load(scores + i));
  const float largest = V::reduce_max(top);
  const F largest_lanes = V::set(largest);
  F sums = V::set(0);
  for (uint64_t i = 0; i < kChunk; i += V::kLanes) {
    const F e = exp<V>(V::load(scores + i) - largest_lanes);
    V::store(scores + i, e);
    sums += e;
  }
  float first[V::kLanes];
  V::store(first, exp<V>(V::set(s.largest(query)) - largest_lanes));
  const float rescale = first[0];
  s.sum(query) = s.sum(query) * rescale + V::reduce_add(sums);
  s.largest(query) = largest;
  if (rescale == 1.0f) return;  // the same bits
  float* out = s.output(query);
  for (uint64_t d = 0; d < padded; d += V::kLanes) V::store(out + d, V::load(out + d) * V::set(rescale));
}

// outputs[q] += sum over columns [begin, end), in order, of weight * value, for kQueries queries and kCount vectors of
// the head's dimensions.
template <typename V, int kQueries, int kCount>
void value_tile(const AttentionScratch& s, uint64_t query, uint64_t padded, uint64_t begin, uint64_t end, uint64_t d) {
  using F = typename V::F;
  F sums[kQueries][kCount];
#pragma GCC unroll 8
  for (int t = 0; t < kQueries; ++t) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      sums[t][i] = V::load(s.output(query + static_cast<uint64_t>(t)) + d + static_cast<uint64_t>(i) * V::kLanes);
    }
  }
  for (uint64_t p = begin; p < end; ++p) {
    F weights[kQueries];
#pragma GCC unroll 8
    for (int t = 0; t < kQueries; ++t) {
      weights[t] = V::set(s.scores[(query + static_cast<uint64_t>(t)) * kChunk + p]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      const F value = V::load(s.values + p * padded + d + static_cast<uint64_t>(i) * V::kLanes);
#pragma GCC unroll 8
      for (int t = 0; t < kQueries; ++t) sums[t][i] = V::fma(weights[t], value, sums[t][i]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kQueries; ++t) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      V::store(s.output(query + static_cast<uint64_t>(t)) + d + static_cast<uint64_t>(i) * V::kLanes, sums[t][i]);
    }
  }
}

template <typename V, int kQueries>
void add_values(const AttentionScratch& s, uint64_t query, uint64_t padded, uint64_t begin, uint64_t end) {
  uint64_t d = 0;
  for (; d + kVectors * V::kLanes <= padded; d += kVectors * V::kLanes) {
    value_tile<V, kQueries, kVectors>(s, query, padded, begin, end, d);
  }
  for (; d < padded; d += V::kLanes) value_tile<V, kQueries, 1>(s, query, padded, begin, end, d);
}

template <typename V, typename Load>
void attention_over(const AttentionArgs& a, const AttentionScratch& s, uint64_t padded) {
  const uint64_t queries = a.tokens * a.group;
  const auto first_seen = [&](uint64_t position) {
    return a.window == 0 || position < a.window ? 0 : position - a.window + 1;
  };
  const uint64_t stop = a.position + a.tokens;  // after the last position that any query sees
  const uint64_t first = first_seen(a.position), split_begin = a.first_split * kSplit;
  const uint64_t begin_at = first > split_begin ? first : split_begin;
  const uint64_t splits = (stop - split_begin + kSplit - 1) / kSplit;
  const uint64_t end = a.splits < splits ? split_begin + a.splits * kSplit : stop;
  for (uint64_t begin = begin_at; begin < end;) {
    const uint64_t base = begin / kChunk * kChunk;
    const uint64_t chunk_end = end < base + kChunk ? end : base + kChunk;
    load_chunk<V, Load>(a, begin, chunk_end, padded, s);
    uint64_t query = 0;
    for (; query + V::kTileQueries <= queries; query += V::kTileQueries) {
      score_tile<V, V::kTileQueries>(s, query, a.head_dim, padded, chunk_end - base);
    }
    for (; query < queries; ++query) score_tile<V, 1>(s, query, a.head_dim, padded, chunk_end - base);
    for (uint64_t t = 0; t < a.tokens; ++t) {
      const uint64_t position = a.position + t;
      const uint64_t from = first_seen(position) > base ? first_seen(position) : base;
      const uint64_t to = position + 1 < chunk_end ? position + 1 : chunk_end;
      if (from >= to) continue;  // none of this chunk is seen
      for (uint64_t h = 0; h < a.group; ++h) softmax_step<V>(a, s, t * a.group + h, padded, from - base, to - base);
      uint64_t h = 0;
      for (; h + 2 <= a.group; h += 2) add_values<V, 2>(s, t * a.group + h, padded, from - base, to - base);
      if (h < a.group) add_values<V, 1>(s, t * a.group + h, padded, from - base, to - base);
    }
    begin = base + kChunk;
    if (begin % kSplit != 0 && begin < end) continue;
    const uint64_t split = base / kSplit - a.first_split;
    for (query = 0; query < queries; ++query) {
      if (a.states == nullptr) {
        merge_state<V>(s.output(query), s.state_stride, s.merged + query * s.state_stride);
      } else {
        copy_state<V>(s.output(query), s.state_stride, a.states + (split * queries + query) * s.state_stride);
      }
      clear_state<V>(s.output(query), s.state_stride);
    }
  }
}

// The output of a query from its merged state.
template <typename V>
void write_output(const AttentionArgs& a, uint64_t query, const float* state) {
  using F = typename V::F;
  const F sum = V::set(state[attention_state(a.head_dim) - kPad + 1]);
  const F factor = V::set(a.v_factor);
  float* to = a.out + query / a.group * a.out_stride + query % a.group * a.head_dim;
  map<V>(state, a.head_dim, to, [&](uint64_t, F o) {
    const F y = o / sum * factor;
    return y;
  });
}

template <typename V>
void attention(const AttentionArgs& a, float* scratch) {
  const uint64_t padded = round_up<V>(a.head_dim, kPad);
  const AttentionScratch s = divide_scratch<V>(scratch, a.head_dim);
  const uint64_t queries = a.tokens * a.group;
  for (uint64_t query = 0; query < queries; ++query) {
    const float* from = a.q + query / a.group * a.q_stride + query % a.group * a.head_dim;
    __builtin_memcpy(s.queries + query * padded, from, a.head_dim * sizeof(float));
    clear_state<V>(s.output(query), s.state_stride);
    clear_state<V>(s.merged + query * s.state_stride, s.state_stride);
  }
  visit_element<V>(a.element, [&]<typename Load>() { attention_over<V, Load>(a, s, padded); });
  if (a.states != nullptr) return;
  for (uint64_t query = 0; query < queries; ++query) write_output<V>(a, query, s.merged + query * s.state_stride);
}

// Merges [splits, queries, attention_state] in place, in order, and writes outputs.
template <typename V>
void merge_attention(const AttentionArgs& a, uint64_t splits) {
  const uint64_t stride = attention_state(a.head_dim), queries = a.tokens * a.group;
  for (uint64_t query = 0; query < queries; ++query) {
    float* merged = a.states + query * stride;
    for (uint64_t i = 1; i < splits; ++i) merge_state<V>(merged + i * queries * stride, stride, merged);
    write_output<V>(a, query, merged);
  }
}

}  // namespace octavo::cpu::impl
