// Kernels for AMX with BF16: linear layers of many tokens by products of tiles (tdpbf16ps), those of few by
// multiply-adds in the same order; everything else is AVX-512's.
//
// A product of tiles takes kTileK elements of K. Of each output it makes two sums that begin at zero, of the even
// elements and of the odd ones, in order, each product and sum with one rounding; adds the two; and adds that to the
// output (Intel's Software Developer's Manual, TDPBF16PS). add_step() does that with vectors, where tiles would be
// mostly empty: the same bits. Tiles know no subnormal numbers, so a call does without them altogether.
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

// More tokens than this are worth tiles. With 6, all sums of a step are in registers.
constexpr int kFewTokens = 6;
// Tokens of a call: decoding a panel is spread over them.
constexpr std::uint64_t kMaxTokens = 512;

template <typename Line>
constexpr std::uint64_t kLineBytes = kPair* kPanel* Line::kBytes;

// totals += sums * the scales of a segment.
void add_scaled(const LinearArgs& a, std::uint64_t segment, std::uint64_t token, const F (&scales)[2],
                const F (&sums)[2], F (&totals)[2]) {
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

// ---- few tokens

// sums[t][p] += what a product of tiles would add: `pairs` <= kTilePairs lines of kCount panels and the inputs of one
// tile.
template <typename Line, int kTokens, int kCount>
[[gnu::always_inline]] inline void add_step(const LinearArgs& a, const std::byte* const (&lines)[kCount],
                                            std::uint64_t pairs, std::uint64_t ahead, const std::uint16_t* x,
                                            F (&sums)[kTokens][kCount][2]) {
  F even[kTokens][kCount][2] = {}, odd[kTokens][kCount][2] = {};
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
  for (std::uint64_t i = 0; i < pairs; ++i) {
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) {
      const std::byte* line = lines[p] + i * kLineBytes<Line>;
      impl::prefetch<V>(line + ahead, kLineBytes<Line>);
      __m512i w[2];
      Line::load(line, a, w);
      const F w_even[2] = {_mm512_castsi512_ps(_mm512_slli_epi32(w[0], 16)),
                           _mm512_castsi512_ps(_mm512_slli_epi32(w[1], 16))};
      const F w_odd[2] = {_mm512_castsi512_ps(_mm512_and_si512(w[0], upper)),
                          _mm512_castsi512_ps(_mm512_and_si512(w[1], upper))};
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        int both;
        __builtin_memcpy(&both, x + static_cast<std::uint64_t>(t) * kTileK + i * kPair, sizeof both);
        const __m512i pair = _mm512_set1_epi32(both);
        const F x_even = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
        const F x_odd = _mm512_castsi512_ps(_mm512_and_si512(pair, upper));
        even[t][p][0] = V::fma(x_even, w_even[0], even[t][p][0]);
        even[t][p][1] = V::fma(x_even, w_even[1], even[t][p][1]);
        odd[t][p][0] = V::fma(x_odd, w_odd[0], odd[t][p][0]);
        odd[t][p][1] = V::fma(x_odd, w_odd[1], odd[t][p][1]);
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) {
      const F first = even[t][p][0] + odd[t][p][0], second = even[t][p][1] + odd[t][p][1];
      sums[t][p][0] += first;
      sums[t][p][1] += second;
    }
  }
}

template <typename Line, int kTokens, int kCount>
void add_panels(const LinearArgs& a, std::uint64_t panel) {
  F totals[kTokens][kCount][2] = {};
  const auto* x = static_cast<const std::uint16_t*>(a.x);
  const std::byte* lines[kCount];
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) lines[p] = a.weight + (panel + static_cast<std::uint64_t>(p)) * a.panel_bytes;
  const std::byte* const end = lines[0] + a.panel_bytes;
  for (std::uint64_t s = 0; s < a.segments; ++s) {
    F sums[kTokens][kCount][2] = {};
    for (std::uint64_t left = segment_pairs(a, s); left > 0; x += kTileElements) {
      const std::uint64_t pairs = left < kTilePairs ? left : kTilePairs;
      // What lies after a panel is another one of these: those that come next begin after all of them.
      const bool ends = static_cast<std::uint64_t>(end - lines[0]) <= kAhead;
      const std::uint64_t ahead = ends ? kAhead + (kCount - 1) * a.panel_bytes : kAhead;
      add_step<Line, kTokens, kCount>(a, lines, pairs, ahead, x, sums);
#pragma GCC unroll 8
      for (int p = 0; p < kCount; ++p) lines[p] += pairs * kLineBytes<Line>;
      left -= pairs;
    }
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) {
      F scales[2];
      impl::load_scales<V>(a, panel + static_cast<std::uint64_t>(p), 0, s, scales);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        Line::end(sums[t][p]);
        add_scaled(a, s, static_cast<std::uint64_t>(t), scales, sums[t][p], totals[t][p]);
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) {
      impl::finish<V>(a, static_cast<std::uint64_t>(t), (panel + static_cast<std::uint64_t>(p)) * kPanel, totals[t][p]);
    }
  }
}

// Panels side by side, as many as registers have sums for: memory is read faster in several streams.
constexpr int panels_at_once(int tokens) { return tokens == 1 ? 4 : tokens <= 3 ? 2 : 1; }

template <typename Line, int kTokens>
void few(const LinearArgs& a, std::uint64_t panel, std::uint64_t panel_end) {
  constexpr int kCount = panels_at_once(kTokens);
  for (; panel + kCount <= panel_end; panel += kCount) add_panels<Line, kTokens, kCount>(a, panel);
  for (; panel < panel_end; ++panel) add_panels<Line, kTokens, 1>(a, panel);
}

// ---- tiles

constexpr long kTileStride = 64;  // bytes from row to row, of every tile

std::uint64_t segment_steps(const LinearArgs& a, std::uint64_t segment) {
  return (segment_pairs(a, segment) + kTilePairs - 1) / kTilePairs;
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
template <int kTiles>
[[gnu::always_inline]] inline void multiply_step(const std::uint16_t* x, std::uint64_t next_tile,
                                                 const std::uint16_t* weights) {
  _tile_loadd(4, x, kTileStride);
  _tile_loadd(6, weights, kTileStride);
  _tile_loadd(7, weights + kTileElements, kTileStride);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kTiles == 2) {
    _tile_loadd(5, x + next_tile, kTileStride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}
template <int kTiles>
[[gnu::always_inline]] inline void store_sums(float* sums) {
  _tile_stored(0, sums, kTileStride);
  _tile_stored(1, sums + kTileFloats, kTileStride);
  if constexpr (kTiles == 2) {
    _tile_stored(2, sums + 2 * kTileFloats, kTileStride);
    _tile_stored(3, sums + 3 * kTileFloats, kTileStride);
  }
}

// Sums of one segment that are to be added to totals: [2 tiles of tokens, 2 of outputs, kTileTokens, kTileOutputs].
struct Pending {
  const float* sums = nullptr;
  float* totals = nullptr;  // [tokens, kPanel], of the first token
  std::uint64_t panel = 0, segment = 0, token = 0;
  bool first = false, last = false;  // of K: totals begin; outputs are finished
};

// Adds those of tokens [begin, end) after the first.
template <typename Line>
[[gnu::always_inline]] inline void add_rows(const LinearArgs& a, const Pending& p, std::uint64_t begin,
                                            std::uint64_t end) {
  if (begin >= end) return;
  F scales[2];
  impl::load_scales<V>(a, p.panel, 0, p.segment, scales);
  for (std::uint64_t t = begin; t < end; ++t) {
    const float* from = p.sums + t / kTileTokens * 2 * kTileFloats + t % kTileTokens * kTileOutputs;
    F sums[2] = {V::load(from), V::load(from + kTileFloats)};
    Line::end(sums);
    float* stored = p.totals + t * kPanel;
    F totals[2] = {V::set(0), V::set(0)};
    if (!p.first) {
      totals[0] = V::load(stored);
      totals[1] = V::load(stored + V::kLanes);
    }
    add_scaled(a, p.segment, p.token + t, scales, sums, totals);
    if (p.last) {
      impl::finish<V>(a, p.token + t, p.panel * kPanel, totals);
    } else {
      V::store(stored, totals[0]);
      V::store(stored + V::kLanes, totals[1]);
    }
  }
}

// What a call keeps.
constexpr std::uint64_t kMostPanels = 16, kMostK = 512;
struct Scratch {
  float* totals;           // [kMostPanels, kMaxTokens, kPanel]
  float* sums;             // two of Pending's
  std::uint16_t* weights;  // [steps, 2 tiles of outputs, kTilePairs, kTileOutputs, 2]
  static constexpr std::uint64_t kTotals = kMostPanels * kMaxTokens * kPanel;
  static constexpr std::uint64_t kSums = 4 * kTileFloats;  // of one
  static constexpr std::uint64_t kFloats = kTotals + 2 * kSums + kMostK * kPanel / 2;
};

// ---- some tokens: at most two tiles, so that weights are what takes time. They are read from one end to the other, a
// step decoded while the one before is multiplied.

template <typename Line, int kTiles>
void some(const LinearArgs& a, std::uint64_t panel_begin, std::uint64_t panel_end, const Scratch& scratch) {
  constexpr std::uint64_t kStepElements = 2 * kTileElements;
  const std::uint64_t tokens = a.token_tiles[a.tiles], next_tile = kTileTokens * a.x_stride;
  for (std::uint64_t panel = panel_begin; panel < panel_end; ++panel) {
    const std::byte* line = a.weight + panel * a.panel_bytes;
    const auto* x = static_cast<const std::uint16_t*>(a.x);
    std::uint64_t step = 0;  // decoded so far; the last one is not multiplied yet
    const auto decode_next = [&](std::uint64_t pairs) {
      decode_step<Line>(a, line, pairs, kAhead, scratch.weights + step++ % 2 * kStepElements);
      line += pairs * kLineBytes<Line>;
    };
    const auto multiply_last = [&] {
      multiply_step<kTiles>(x, next_tile, scratch.weights + (step - 2) % 2 * kStepElements);
      x += kTileElements;
    };
    decode_next(segment_pairs(a, 0) < kTilePairs ? segment_pairs(a, 0) : kTilePairs);
    for (std::uint64_t s = 0; s < a.segments; ++s) {
      clear_sums<kTiles>();
      for (std::uint64_t done = kTilePairs, pairs = segment_pairs(a, s); done < pairs; done += kTilePairs) {
        decode_next(pairs - done < kTilePairs ? pairs - done : kTilePairs);
        multiply_last();
      }
      const bool last = s + 1 == a.segments;
      if (!last) {
        const std::uint64_t pairs = segment_pairs(a, s + 1);
        decode_next(pairs < kTilePairs ? pairs : kTilePairs);
      } else {
        ++step;
      }
      multiply_last();
      store_sums<kTiles>(scratch.sums);
      add_rows<Line>(a, {scratch.sums, scratch.totals, panel, s, 0, s == 0, last}, 0, tokens);
    }
  }
}

// ---- many tokens: inputs are what moves, so several panels share a block of them in the second cache.

// Consecutive segments of one panel.
struct Block {
  std::uint64_t panel = 0;
  std::uint64_t first_segment = 0, end_segment = 0;
  std::uint64_t first_step = 0;  // of all of K
  float* totals = nullptr;       // [kMaxTokens, kPanel]
};

template <typename Line>
void decode_block(const LinearArgs& a, const Block& block, std::uint16_t* out) {
  const std::byte* line =
      a.weight + block.panel * a.panel_bytes + a.segment_begins[block.first_segment] / kPair * kLineBytes<Line>;
  for (std::uint64_t s = block.first_segment; s < block.end_segment; ++s) {
    for (std::uint64_t left = segment_pairs(a, s); left > 0; out += 2 * kTileElements) {
      const std::uint64_t pairs = left < kTilePairs ? left : kTilePairs;
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
               const Scratch& scratch) {
  const auto* x = static_cast<const std::uint16_t*>(a.x) + token * a.x_stride + block.first_step * kTileElements;
  const std::uint16_t* weights = scratch.weights;
  Pending pending;
  for (std::uint64_t s = block.first_segment; s < block.end_segment; ++s) {
    const std::uint64_t steps = segment_steps(a, s), waiting = pending.sums == nullptr ? 0 : tokens;
    clear_sums<kTiles>();
    for (std::uint64_t i = 0; i < steps; ++i) {
      multiply_step<kTiles>(x, kTileTokens * a.x_stride, weights);
      x += kTileElements;
      weights += 2 * kTileElements;
      add_rows<Line>(a, pending, waiting * i / steps, waiting * (i + 1) / steps);
    }
    float* const sums = scratch.sums + (s - block.first_segment) % 2 * Scratch::kSums;
    store_sums<kTiles>(sums);
    pending = {sums, block.totals + token * kPanel, block.panel, s, token, s == 0, s + 1 == a.segments};
  }
  add_rows<Line>(a, pending, 0, tokens);
}

template <typename Line>
void many(const LinearArgs& a, std::uint64_t panel_begin, std::uint64_t panel_end, const Scratch& scratch) {
  const std::uint64_t tokens = a.token_tiles[a.tiles];
  for (std::uint64_t first = panel_begin; first < panel_end; first += kMostPanels) {
    const std::uint64_t end = first + kMostPanels < panel_end ? first + kMostPanels : panel_end;
    std::uint64_t step = 0;
    for (std::uint64_t s = 0; s < a.segments;) {
      Block block;
      block.first_segment = s;
      block.first_step = step;
      step += segment_steps(a, s++);
      while (s < a.segments && (step + segment_steps(a, s) - block.first_step) * kTileK <= kMostK) {
        step += segment_steps(a, s++);
      }
      block.end_segment = s;
      for (block.panel = first; block.panel < end; ++block.panel) {
        decode_block<Line>(a, block, scratch.weights);
        block.totals = scratch.totals + (block.panel - first) * kMaxTokens * kPanel;
        for (std::uint64_t token = 0; token < tokens; token += 2 * kTileTokens) {
          const std::uint64_t left = tokens - token;
          if (left > kTileTokens) {
            add_block<Line, 2>(a, block, token, left < 2 * kTileTokens ? left : 2 * kTileTokens, scratch);
          } else {
            add_block<Line, 1>(a, block, token, left, scratch);
          }
        }
      }
    }
  }
}

[[gnu::noinline]] void run(const LinearArgs& a, std::uint64_t panel_begin, std::uint64_t panel_end, float* scratch) {
  const std::uint64_t tokens = a.token_tiles[a.tiles];
  visit_line(a, [&]<typename Line>() {
    if (tokens <= kFewTokens) {
      return impl::with_count<kFewTokens>(tokens,
                                          [&]<int kTokens>() { few<Line, kTokens>(a, panel_begin, panel_end); });
    }
    const TileConfig config;
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
