// Kernels for AMX with BF16: linear layers by products of tiles (tdpbf16ps), those of one token by multiply-adds in the
// same order; everything else is AVX-512's.
//
// A product of tiles takes kTileK elements of K. Of each output it makes two sums that begin at zero, of the even
// elements and of the odd ones, in order, each product and sum with one rounding; adds the two; and adds that to the
// output (Intel's Software Developer's Manual, TDPBF16PS). add_step() does that with vectors for one token,
// whose tiles would be mostly empty: the same bits. Tiles know no subnormal numbers, so a call does without them
// altogether.
#if defined(__x86_64__)

#include "octavo/backend/cpu/lines_avx512_bf16.h"
#include "octavo/backend/cpu/tile_config.h"

namespace octavo::cpu::amx {
namespace {

using F = V::F;
using impl::kAhead;

constexpr std::uint64_t kTileTokens = 16, kTileOutputs = 16, kTilePairs = kTileK / kPair;
constexpr std::uint64_t kTileElements = kTileTokens * kTileK;  // of inputs; 1 KiB, as every tile
constexpr std::uint64_t kTileFloats = kTileTokens * kTileOutputs;
static_assert(kPanel == 2 * kTileOutputs);

constexpr std::uint64_t least(std::uint64_t a, std::uint64_t b) { return a < b ? a : b; }
constexpr std::uint64_t quotient_up(std::uint64_t a, std::uint64_t b) { return (a + b - 1) / b; }

// Tokens of a call: decoding a panel is spread over them.
constexpr std::uint64_t kMaxTokens = 512;

template <typename Line>
constexpr std::uint64_t kLineBytes = kPair* kPanel* Line::kBytes;

// A segment's scales in the order in which the sums of a line lie; totals keep it until finish_token().
template <typename Line>
[[gnu::always_inline]] inline void load_scales(const LinearArgs& a, std::uint64_t panel, std::uint64_t segment,
                                               F (&scales)[2]) {
  impl::load_scales<V>(a, panel, 0, segment, scales);
  if (a.segment_scale_width != 1) Line::begin(scales);
}

template <typename Line>
[[gnu::always_inline]] inline void finish_token(const LinearArgs& a, std::uint64_t token, std::uint64_t panel,
                                                F (&totals)[2]) {
  Line::end(totals);
  impl::finish<V>(a, token, panel * kPanel, totals);
}

// totals += sums * the scales of a segment.
[[gnu::always_inline]] inline void add_scaled(const LinearArgs& a, std::uint64_t segment, std::uint64_t token,
                                              const F (&scales)[2], const F (&sums)[2], F (&totals)[2]) {
  F both[2] = {scales[0], scales[1]};
  if (a.x_segment_scales != nullptr) {
    const F x_scale = V::set(a.x_segment_scales[token * a.segments + segment]);
    both[0] = both[0] * x_scale;
    both[1] = both[1] * x_scale;
  }
  totals[0] = V::fma(sums[0], both[0], totals[0]);
  totals[1] = V::fma(sums[1], both[1], totals[1]);
}

std::uint64_t segment_pairs(const LinearArgs& a, std::uint64_t segment) {
  return (a.segment_begins[segment + 1] - a.segment_begins[segment]) / kPair;
}

// ---- one token

// sums[p] += what a product of tiles would add: `pairs` <= kTilePairs lines of kCount panels and the inputs of one
// tile.
template <typename Line, int kCount>
[[gnu::always_inline]] inline void add_step(const LinearArgs& a, const std::byte* const (&lines)[kCount],
                                            std::uint64_t pairs, std::uint64_t ahead, const std::uint16_t* x,
                                            F (&sums)[kCount][2]) {
  F even[kCount][2] = {}, odd[kCount][2] = {};
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
  for (std::uint64_t i = 0; i < pairs; ++i) {
    int both;
    __builtin_memcpy(&both, x + i * kPair, sizeof both);
    const __m512i pair = _mm512_set1_epi32(both);
    const F x_even = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    const F x_odd = _mm512_castsi512_ps(_mm512_and_si512(pair, upper));
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) {
      const std::byte* line = lines[p] + i * kLineBytes<Line>;
      impl::prefetch<V>(line + ahead, kLineBytes<Line>);
      __m512i w[2];
      Line::load(line, a, w);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        even[p][h] = V::fma(x_even, _mm512_castsi512_ps(_mm512_slli_epi32(w[h], 16)), even[p][h]);
        odd[p][h] = V::fma(x_odd, _mm512_castsi512_ps(_mm512_and_si512(w[h], upper)), odd[p][h]);
      }
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) {
    const F first = even[p][0] + odd[p][0], second = even[p][1] + odd[p][1];
    sums[p][0] += first;
    sums[p][1] += second;
  }
}

template <typename Line, int kCount>
void add_panels(const LinearArgs& a, std::uint64_t panel) {
  F totals[kCount][2] = {};
  const auto* x = static_cast<const std::uint16_t*>(a.x);
  const std::byte* lines[kCount];
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) lines[p] = a.weight + (panel + static_cast<std::uint64_t>(p)) * a.panel_bytes;
  const std::byte* const end = lines[0] + a.panel_bytes;
  for (std::uint64_t s = 0; s < a.segments; ++s) {
    F sums[kCount][2] = {};
    for (std::uint64_t left = segment_pairs(a, s); left > 0; x += kTileElements) {
      const std::uint64_t pairs = least(left, kTilePairs);
      // What lies after a panel is another one of these: those that come next begin after all of them.
      const bool ends = static_cast<std::uint64_t>(end - lines[0]) <= kAhead;
      const std::uint64_t ahead = ends ? kAhead + (kCount - 1) * a.panel_bytes : kAhead;
      add_step<Line, kCount>(a, lines, pairs, ahead, x, sums);
#pragma GCC unroll 8
      for (int p = 0; p < kCount; ++p) lines[p] += pairs * kLineBytes<Line>;
      left -= pairs;
    }
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) {
      F scales[2];
      load_scales<Line>(a, panel + static_cast<std::uint64_t>(p), s, scales);
      add_scaled(a, s, 0, scales, sums[p], totals[p]);
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) finish_token<Line>(a, 0, panel + static_cast<std::uint64_t>(p), totals[p]);
}

template <typename Line>
void one(const LinearArgs& a, std::uint64_t panel, std::uint64_t panel_end) {
  constexpr int kCount = 4;  // side by side: memory is read faster in several streams
  for (; panel + kCount <= panel_end; panel += kCount) add_panels<Line, kCount>(a, panel);
  for (; panel < panel_end; ++panel) add_panels<Line, 1>(a, panel);
}

// ---- tiles

constexpr long kTileStride = 64;  // bytes from row to row, of every tile

std::uint64_t segment_steps(const LinearArgs& a, std::uint64_t segment) {
  return quotient_up(segment_pairs(a, segment), kTilePairs);
}

// The next `pairs` lines of a panel as two tiles of outputs, zeros beyond; what lies `ahead` of them is asked for.
template <typename Line>
[[gnu::always_inline]] inline void decode_step(const LinearArgs& a, const std::byte* line, std::uint64_t pairs,
                                               std::uint64_t ahead, std::uint16_t* out) {
  std::uint64_t i = 0;
  for (; i < pairs; ++i, line += kLineBytes<Line>) {
    impl::prefetch<V>(line + ahead, kLineBytes<Line>);
    __m512i w[2];
    Line::load(line, a, w);
    _mm512_store_si512(out + i * kTileK, w[0]);
    _mm512_store_si512(out + kTileElements + i * kTileK, w[1]);
  }
  for (; i < kTilePairs; ++i) {
    _mm512_store_si512(out + i * kTileK, _mm512_setzero_si512());
    _mm512_store_si512(out + kTileElements + i * kTileK, _mm512_setzero_si512());
  }
}

// Tiles 0 to 3 are sums, of (first tokens, first outputs), (first, second), (second, first), (second, second); 4 and 5
// inputs, 6 and 7 weights.
template <int kTiles>
[[gnu::always_inline]] inline void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kTiles == 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
}
// Tiles 6 and 7.
[[gnu::always_inline]] inline void load_weights(const std::uint16_t* weights) {
  _tile_loadd(6, weights, kTileStride);
  _tile_loadd(7, weights + kTileElements, kTileStride);
}

// kStream: the inputs come from the second cache and shall not take the weights' place in the first.
template <int kTiles, bool kStream>
[[gnu::always_inline]] inline void multiply_step(const std::uint16_t* x, std::uint64_t next_tile,
                                                 const std::uint16_t* weights) {
  if constexpr (kStream) {
    _tile_stream_loadd(4, x, kTileStride);
  } else {
    _tile_loadd(4, x, kTileStride);
  }
  load_weights(weights);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kTiles == 2) {
    if constexpr (kStream) {
      _tile_stream_loadd(5, x + next_tile, kTileStride);
    } else {
      _tile_loadd(5, x + next_tile, kTileStride);
    }
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}
// One tile of tokens and a step of two panels.
[[gnu::always_inline]] inline void multiply_panels(const std::uint16_t* x, const std::uint16_t* weights) {
  _tile_loadd(4, x, kTileStride);
  load_weights(weights);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  load_weights(weights + 2 * kTileElements);
  _tile_dpbf16ps(2, 4, 6);
  _tile_dpbf16ps(3, 4, 7);
}
// To [tokens, kPanel].
template <int kTiles>
[[gnu::always_inline]] inline void store_sums(float* sums) {
  constexpr long kStride = kPanel * sizeof(float);
  _tile_stored(0, sums, kStride);
  _tile_stored(1, sums + kTileOutputs, kStride);
  if constexpr (kTiles == 2) {
    _tile_stored(2, sums + kTileTokens * kPanel, kStride);
    _tile_stored(3, sums + kTileTokens * kPanel + kTileOutputs, kStride);
  }
}

// Sums of one segment that are to be added to totals.
struct Pending {
  const float* sums = nullptr;  // [tokens, kPanel]
  float* totals = nullptr;      // the same shape
  std::uint64_t panel = 0, segment = 0, token = 0, tokens = 0;
};

// Adds those of the next tokens, `most` at most.
template <typename Line>
[[gnu::always_inline]] inline void add_rows(const LinearArgs& a, Pending& p, std::uint64_t most) {
  std::uint64_t count = least(p.tokens, most);
  if (count == 0) return;
  F scales[2];
  load_scales<Line>(a, p.panel, p.segment, scales);
  p.tokens -= count;
  for (; count > 0; --count, ++p.token, p.sums += kPanel, p.totals += kPanel) {
    const F sums[2] = {V::load(p.sums), V::load(p.sums + V::kLanes)};
    F totals[2] = {V::load(p.totals), V::load(p.totals + V::kLanes)};
    add_scaled(a, p.segment, p.token, scales, sums, totals);
    V::store(p.totals, totals[0]);
    V::store(p.totals + V::kLanes, totals[1]);
  }
}

// totals: [tokens, kPanel].
void clear_rows(float* totals, std::uint64_t tokens) {
  for (std::uint64_t i = 0; i < tokens * kPanel; i += V::kLanes) V::store(totals + i, V::set(0));
}
template <typename Line>
void finish_rows(const LinearArgs& a, std::uint64_t panel, std::uint64_t token, std::uint64_t tokens,
                 const float* totals) {
  for (const std::uint64_t end = token + tokens; token < end; ++token, totals += kPanel) {
    F row[2] = {V::load(totals), V::load(totals + V::kLanes)};
    finish_token<Line>(a, token, panel, row);
  }
}

// What a call keeps.
constexpr std::uint64_t kMostPanels = 16, kMostK = 512;
struct Scratch {
  float* totals;           // [kMostPanels, kMaxTokens, kPanel]
  float* sums;             // [2, two tiles of tokens, kPanel]
  std::uint16_t* weights;  // [steps, 2 tiles of outputs, kTilePairs, kTileOutputs, 2]
  static constexpr std::uint64_t kTotals = kMostPanels * kMaxTokens * kPanel;
  static constexpr std::uint64_t kSums = 4 * kTileFloats;  // of one
  static constexpr std::uint64_t kFloats = kTotals + 2 * kSums + kMostK * kPanel / 2;
};

// ---- some tokens: at most two tiles, so that weights are what takes time. They are read from one end to the other, a
// step decoded while the one before is multiplied; by one tile of tokens in two panels at once.

template <typename Line, int kTiles, int kCount>
void some_panels(const LinearArgs& a, std::uint64_t panel, const Scratch& scratch) {
  static_assert(kTiles * kCount <= 2);
  constexpr std::uint64_t kStepElements = 2 * kTileElements * kCount, kRows = kTiles * kTileTokens * kPanel;
  const std::uint64_t tokens = a.token_tiles[a.tiles], next_tile = kTileTokens * a.x_stride;
  const std::byte* line = a.weight + panel * a.panel_bytes;
  const auto* x = static_cast<const std::uint16_t*>(a.x);
  std::uint64_t step = 0;  // decoded so far; the last one is not multiplied yet
  for (std::uint64_t p = 0; p < kCount; ++p) clear_rows(scratch.totals + p * kRows, tokens);
  const auto decode_next = [&](std::uint64_t left) {
    const std::uint64_t pairs = least(left, kTilePairs);
    std::uint16_t* const out = scratch.weights + step++ % 2 * kStepElements;
#pragma GCC unroll 2
    for (std::uint64_t p = 0; p < kCount; ++p) {
      decode_step<Line>(a, line + p * a.panel_bytes, pairs, kAhead, out + p * 2 * kTileElements);
    }
    line += pairs * kLineBytes<Line>;
  };
  const auto multiply_last = [&] {
    const std::uint16_t* const weights = scratch.weights + (step - 2) % 2 * kStepElements;
    if constexpr (kCount == 2) {
      multiply_panels(x, weights);
    } else {
      multiply_step<kTiles, false>(x, next_tile, weights);
    }
    x += kTileElements;
  };
  decode_next(segment_pairs(a, 0));
  for (std::uint64_t s = 0; s < a.segments; ++s) {
    clear_sums<kTiles * kCount>();
    for (std::uint64_t done = kTilePairs, pairs = segment_pairs(a, s); done < pairs; done += kTilePairs) {
      decode_next(pairs - done);
      multiply_last();
    }
    if (s + 1 < a.segments) {
      decode_next(segment_pairs(a, s + 1));
    } else {
      ++step;
    }
    multiply_last();
    store_sums<kTiles * kCount>(scratch.sums);
    for (std::uint64_t p = 0; p < kCount; ++p) {
      Pending all{scratch.sums + p * kRows, scratch.totals + p * kRows, panel + p, s, 0, tokens};
      add_rows<Line>(a, all, tokens);
    }
  }
  for (std::uint64_t p = 0; p < kCount; ++p) finish_rows<Line>(a, panel + p, 0, tokens, scratch.totals + p * kRows);
}

template <typename Line, int kTiles>
void some(const LinearArgs& a, std::uint64_t panel, std::uint64_t panel_end, const Scratch& scratch) {
  constexpr int kCount = kTiles == 1 ? 2 : 1;
  for (; panel + kCount <= panel_end; panel += kCount) some_panels<Line, kTiles, kCount>(a, panel, scratch);
  for (; panel < panel_end; ++panel) some_panels<Line, kTiles, 1>(a, panel, scratch);
}

// ---- many tokens: inputs are what moves, so several panels share a block of them in the second cache.

// Consecutive segments of one panel.
struct Block {
  std::uint64_t panel = 0;
  std::uint64_t first_segment = 0, end_segment = 0;
  std::uint64_t first_step = 0, steps = 0;  // of all of K
  float* totals = nullptr;                  // [kMaxTokens, kPanel]
};

// What comes after a product of some tokens with a block, asked for a little with each of its steps.
struct Ahead {
  const std::byte* weights = nullptr;  // of the next block
  std::uint64_t weight_bytes = 0;      // a step
  float* out = nullptr;                // the outputs that are written at the end, if they are
  std::uint64_t out_stride = 0, rows = 0, rows_a_step = 0;

  [[gnu::always_inline]] void ask() {
    for (std::uint64_t at = 0; at < weight_bytes; at += impl::kCacheLine) {
      __builtin_prefetch(weights + at, 0, 2);  // into the second cache
    }
    weights += weight_bytes;
    for (std::uint64_t i = 0; i < rows_a_step && rows > 0; ++i, --rows, out += out_stride) {
      __builtin_prefetch(out, 1);
      __builtin_prefetch(out + kTileOutputs, 1);
    }
  }
};

template <typename Line>
void decode_block(const LinearArgs& a, const Block& block, std::uint16_t* out) {
  const std::byte* line =
      a.weight + block.panel * a.panel_bytes + a.segment_begins[block.first_segment] / kPair * kLineBytes<Line>;
  for (std::uint64_t s = block.first_segment; s < block.end_segment; ++s) {
    for (std::uint64_t left = segment_pairs(a, s); left > 0; out += 2 * kTileElements) {
      const std::uint64_t pairs = least(left, kTilePairs);
      decode_step<Line>(a, line, pairs, kAhead, out);
      line += pairs * kLineBytes<Line>;
      left -= pairs;
    }
  }
}

// Adds a block's products of up to kTiles tiles of tokens to their totals: while tiles multiply one segment, vectors
// add up the one before.
template <typename Line, int kTiles>
void add_block(const LinearArgs& a, const Block& block, std::uint64_t token, std::uint64_t tokens,
               const Scratch& scratch, Ahead ahead) {
  constexpr std::uint64_t kRowsAStep = 8;
  const auto* x = static_cast<const std::uint16_t*>(a.x) + token * a.x_stride + block.first_step * kTileElements;
  const std::uint16_t* weights = scratch.weights;
  float* const totals = block.totals + token * kPanel;
  if (block.first_segment == 0) clear_rows(totals, tokens);
  Pending pending;
  for (std::uint64_t s = block.first_segment; s < block.end_segment; ++s) {
    clear_sums<kTiles>();
    for (std::uint64_t left = segment_steps(a, s); left > 0; --left) {
      multiply_step<kTiles, true>(x, kTileTokens * a.x_stride, weights);
      x += kTileElements;
      weights += 2 * kTileElements;
      ahead.ask();
      add_rows<Line>(a, pending, kRowsAStep);
    }
    add_rows<Line>(a, pending, tokens);
    float* const sums = scratch.sums + (s - block.first_segment) % 2 * Scratch::kSums;
    store_sums<kTiles>(sums);
    pending = {sums, totals, block.panel, s, token, tokens};
  }
  add_rows<Line>(a, pending, tokens);
  if (block.end_segment == a.segments) finish_rows<Line>(a, block.panel, token, tokens, totals);
}

// Multiplies a block with all tokens. `next`: where the next block's weights begin.
template <typename Line>
void add_block(const LinearArgs& a, const Block& block, const std::byte* next, const Scratch& scratch) {
  const std::uint64_t tokens = a.token_tiles[a.tiles];
  const std::uint64_t calls = quotient_up(tokens, 2 * kTileTokens);
  const std::uint64_t bytes = block.steps * kTilePairs * kLineBytes<Line>;
  decode_block<Line>(a, block, scratch.weights);
  for (std::uint64_t call = 0; call < calls; ++call) {
    const std::uint64_t token = call * 2 * kTileTokens, left = least(tokens - token, 2 * kTileTokens);
    Ahead ahead;
    ahead.weight_bytes = quotient_up(bytes, calls * block.steps * impl::kCacheLine) * impl::kCacheLine;
    ahead.weights = next + call * block.steps * ahead.weight_bytes;
    if (block.end_segment == a.segments) {
      ahead.out = a.out + token * a.out_stride + block.panel * kPanel;
      ahead.out_stride = a.out_stride;
      ahead.rows = left;
      ahead.rows_a_step = quotient_up(left, block.steps);
    }
    if (left > kTileTokens) {
      add_block<Line, 2>(a, block, token, left, scratch, ahead);
    } else {
      add_block<Line, 1>(a, block, token, left, scratch, ahead);
    }
  }
}

template <typename Line>
void many(const LinearArgs& a, std::uint64_t panel_begin, std::uint64_t panel_end, const Scratch& scratch) {
  const auto begin_of = [&](std::uint64_t panel, std::uint64_t segment) {
    return a.weight + panel * a.panel_bytes + a.segment_begins[segment] / kPair * kLineBytes<Line>;
  };
  for (std::uint64_t first = panel_begin; first < panel_end; first += kMostPanels) {
    const std::uint64_t end = least(first + kMostPanels, panel_end);
    for (Block block; block.end_segment < a.segments;) {
      std::uint64_t& s = block.end_segment;
      block.first_segment = s;
      block.first_step += block.steps;
      block.steps = segment_steps(a, s++);
      while (s < a.segments && (block.steps + segment_steps(a, s)) * kTileK <= kMostK)
        block.steps += segment_steps(a, s++);
      for (block.panel = first; block.panel < end; ++block.panel) {
        block.totals = scratch.totals + (block.panel - first) * kMaxTokens * kPanel;
        const std::byte* const next = block.panel + 1 < end ? begin_of(block.panel + 1, block.first_segment)
                                      : s < a.segments      ? begin_of(first, s)
                                                            : begin_of(end, 0);
        add_block<Line>(a, block, next, scratch);
      }
    }
  }
}

[[gnu::noinline]] void run(const LinearArgs& a, std::uint64_t panel_begin, std::uint64_t panel_end, float* scratch) {
  const std::uint64_t tokens = a.token_tiles[a.tiles];
  visit_line(a, [&]<typename Line>() {
    if (tokens == 1) return one<Line>(a, panel_begin, panel_end);
    TileConfig config;
    if (a.tiles <= 2) {  // no more rows than there are tokens: a product takes a cycle a row
      const auto first = static_cast<std::uint8_t>(least(tokens, kTileTokens));
      config.rows[0] = config.rows[1] = config.rows[4] = first;
      config.rows[2] = config.rows[3] = config.rows[5] =
          a.tiles == 1 ? first : static_cast<std::uint8_t>(tokens - kTileTokens);
    }
    _tile_loadconfig(&config);
    float* sums = scratch + Scratch::kTotals;
    void* weights = sums + 2 * Scratch::kSums;
    const Scratch parts{scratch, sums, static_cast<std::uint16_t*>(weights)};
    if (a.tiles == 1) {
      some<Line, 1>(a, panel_begin, panel_end, parts);
    } else if (a.tiles == 2) {
      some<Line, 2>(a, panel_begin, panel_end, parts);
    } else {
      many<Line>(a, panel_begin, panel_end, parts);
    }
    _tile_release();
  });
}

void linear(const LinearArgs& a, std::uint64_t panel_begin, std::uint64_t panel_end, float* scratch) {
  constexpr unsigned kSubnormalsAreZero = 0x8040;  // results (bit 15) and inputs (bit 6)
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | kSubnormalsAreZero);
  run(a, panel_begin, panel_end, scratch);
  _mm_setcsr(before);
}

}  // namespace

Kernels kernels() {
  Kernels k = cpu::kernels(Isa::kAvx512, /*bf16=*/false);
  k.inputs = InputForm::kBf16Tiles;
  k.tile_tokens = kTileTokens;
  k.max_tokens = kMaxTokens;
  k.linear_scratch = Scratch::kFloats;
  k.linear = linear;
  return k;
}

}  // namespace octavo::cpu::amx

#endif
