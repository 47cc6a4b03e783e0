// Kernels for AMX with BF16: linear layers of many tokens by products of tiles (tdpbf16ps), those of few by
// multiply-adds in the same order; everything else is AVX-512's.
//
// A product of tiles takes kTileK elements of K. Of each output it makes two sums that begin at zero, of the even
// elements and of the odd ones, in order, each product and sum with one rounding; adds the two; and adds that to the
// output (Intel's Software Developer's Manual, TDPBF16PS). add_step() does that with vectors, where tiles would be
// mostly empty: the same bits. Tiles know no subnormal numbers, so a call does without them altogether.
#if defined(__x86_64__)

#include "octavo/backend/cpu/lines_avx512_bf16.h"

namespace octavo::cpu::amx {
namespace {

using impl::kCacheLine;
using F = V::F;

constexpr std::uint64_t kTileTokens = 16, kTileOutputs = 16, kTilePairs = kTileK / kPair;
constexpr std::uint64_t kTileElements = kTileTokens * kTileK;  // of inputs; 1 KiB, as every tile
constexpr std::uint64_t kTileFloats = kTileTokens * kTileOutputs;
static_assert(kPanel == 2 * kTileOutputs);

// More tokens than this are worth tiles. With 6, all sums of a step are in registers.
constexpr int kFewTokens = 6;
// Tokens of a call: decoding a panel is spread over them.
constexpr std::uint64_t kMaxTokens = 512;

// How far ahead of use weights are asked for, in bytes: one stream, so more than where several run side by side.
constexpr std::uint64_t kAhead = 2048;

template <typename Line>
constexpr std::uint64_t kLineBytes = kPair* kPanel* Line::kBytes;

void prefetch_line(const std::byte* line, std::uint64_t bytes) {
  for (std::uint64_t at = 0; at < bytes; at += kCacheLine) __builtin_prefetch(line + at);
}

// totals += sums * the scales of a segment.
void add_scaled(const LinearArgs& a, std::uint64_t segment, std::uint64_t token, const F (&scales)[2],
                const F (&sums)[2], F (&totals)[2]) {
  F x_scale = V::set(1);
  if (a.x_segment_scales != nullptr) x_scale = V::set(a.x_segment_scales[token * a.segments + segment]);
  totals[0] = V::fma(sums[0], scales[0] * x_scale, totals[0]);
  totals[1] = V::fma(sums[1], scales[1] * x_scale, totals[1]);
}

void load_scales(const LinearArgs& a, std::uint64_t panel, std::uint64_t segment, F (&scales)[2]) {
  scales[0] = scales[1] = V::set(1);
  if (a.segment_scales == nullptr) return;
  const float* from = a.segment_scales + (panel * a.segments + segment) * a.segment_scale_width;
  const bool one = a.segment_scale_width == 1;
  scales[0] = one ? V::set(*from) : V::load(from);
  scales[1] = one ? scales[0] : V::load(from + V::kLanes);
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
      prefetch_line(line + ahead, kLineBytes<Line>);
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
      load_scales(a, panel + static_cast<std::uint64_t>(p), s, scales);
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

// ---- many tokens

// What a call keeps: totals of some panels, the sums of four tiles, a block of a panel as tiles.
constexpr std::uint64_t kMostPanels = 4, kMostK = 1024;
struct Scratch {
  float* totals;           // [panels, kMaxTokens, kPanel]
  float* sums;             // [2 tiles of tokens, 2 of outputs, kTileTokens, kTileOutputs]
  std::uint16_t* weights;  // [steps, 2 tiles of outputs, kTilePairs, kTileOutputs, 2]
  static constexpr std::uint64_t kTotals = kMostPanels * kMaxTokens * kPanel;
  static constexpr std::uint64_t kSums = 4 * kTileFloats;
  static constexpr std::uint64_t kFloats = kTotals + kSums + kMostK * kPanel / 2;
};

// Consecutive segments of one panel.
struct Block {
  std::uint64_t panel = 0;
  std::uint64_t first_segment = 0, end_segment = 0;
  std::uint64_t first_step = 0;  // of all of K
  float* totals = nullptr;
  bool first = false, last = false;  // of the blocks of K
};

template <typename Line>
void decode_block(const LinearArgs& a, const Block& block, std::uint16_t* out) {
  const std::byte* line =
      a.weight + block.panel * a.panel_bytes + a.segment_begins[block.first_segment] / kPair * kLineBytes<Line>;
  for (std::uint64_t s = block.first_segment; s < block.end_segment; ++s) {
    for (std::uint64_t left = segment_pairs(a, s); left > 0; out += 2 * kTileElements) {
      const std::uint64_t pairs = left < kTilePairs ? left : kTilePairs;
      std::uint64_t i = 0;
      for (; i < pairs; ++i, line += kLineBytes<Line>) {
        prefetch_line(line + kAhead, kLineBytes<Line>);
        __m512i w[2];
        Line::load(line, a, w);
        _mm512_store_si512(out + i * kTileK, w[0]);
        _mm512_store_si512(out + kTileElements + i * kTileK, w[1]);
      }
      for (; i < kTilePairs; ++i) {
        _mm512_store_si512(out + i * kTileK, _mm512_setzero_si512());
        _mm512_store_si512(out + kTileElements + i * kTileK, _mm512_setzero_si512());
      }
      left -= pairs;
    }
  }
}

constexpr long kTileStride = 64;  // bytes from row to row, of every tile

// The products of kTiles tiles of tokens with both tiles of a panel's outputs over `steps` of K, to `sums`.
template <int kTiles>
[[gnu::always_inline]] inline void multiply(const std::uint16_t* x, std::uint64_t next_tile,
                                            const std::uint16_t* weights, std::uint64_t steps, float* sums) {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kTiles == 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (std::uint64_t i = 0; i < steps; ++i) {
    _tile_loadd(4, x + i * kTileElements, kTileStride);
    _tile_loadd(6, weights + 2 * i * kTileElements, kTileStride);
    _tile_loadd(7, weights + (2 * i + 1) * kTileElements, kTileStride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTiles == 2) {
      _tile_loadd(5, x + next_tile + i * kTileElements, kTileStride);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, kTileStride);
  _tile_stored(1, sums + kTileFloats, kTileStride);
  if constexpr (kTiles == 2) {
    _tile_stored(2, sums + 2 * kTileFloats, kTileStride);
    _tile_stored(3, sums + 3 * kTileFloats, kTileStride);
  }
}

// Adds a block's products of up to kTiles tiles of tokens to their totals.
template <typename Line, int kTiles>
void add_block(const LinearArgs& a, const Block& block, std::uint64_t token, std::uint64_t tokens,
               const Scratch& scratch) {
  const auto* x = static_cast<const std::uint16_t*>(a.x) + token * a.x_stride + block.first_step * kTileElements;
  const std::uint16_t* weights = scratch.weights;
  for (std::uint64_t s = block.first_segment; s < block.end_segment; ++s) {
    const std::uint64_t steps = (segment_pairs(a, s) + kTilePairs - 1) / kTilePairs;
    multiply<kTiles>(x, kTileTokens * a.x_stride, weights, steps, scratch.sums);
    x += steps * kTileElements;
    weights += 2 * steps * kTileElements;
    F scales[2];
    load_scales(a, block.panel, s, scales);
    const bool begin = block.first && s == block.first_segment;
    for (std::uint64_t t = 0; t < tokens; ++t) {
      const float* from = scratch.sums + t / kTileTokens * 2 * kTileFloats + t % kTileTokens * kTileOutputs;
      F sums[2] = {V::load(from), V::load(from + kTileFloats)};
      Line::end(sums);
      float* stored = block.totals + (token + t) * kPanel;
      F totals[2] = {V::set(0), V::set(0)};
      if (!begin) {
        totals[0] = V::load(stored);
        totals[1] = V::load(stored + V::kLanes);
      }
      add_scaled(a, s, token + t, scales, sums, totals);
      if (block.last && s + 1 == block.end_segment) {
        impl::finish<V>(a, token + t, block.panel * kPanel, totals);
      } else {
        V::store(stored, totals[0]);
        V::store(stored + V::kLanes, totals[1]);
      }
    }
  }
}

template <typename Line>
void many(const LinearArgs& a, std::uint64_t panel_begin, std::uint64_t panel_end, const Scratch& scratch) {
  // With few tiles of tokens weights are what moves: they are read from one end to the other, a block in the first
  // cache. With many the inputs are, which several panels share in the second.
  constexpr std::uint64_t kFewTiles = 4;
  const bool stream = a.tiles <= kFewTiles;
  const std::uint64_t panels = kMostPanels, block_k = stream ? kMaxSegment : kMostK;
  const std::uint64_t tokens = a.token_tiles[a.tiles];
  for (std::uint64_t first = panel_begin; first < panel_end; first += panels) {
    const std::uint64_t end = first + panels < panel_end ? first + panels : panel_end;
    std::uint64_t step = 0;
    for (std::uint64_t s = 0; s < a.segments;) {
      Block block;
      block.first_segment = s;
      block.first_step = step;
      const auto steps_of = [&](std::uint64_t i) { return (segment_pairs(a, i) + kTilePairs - 1) / kTilePairs; };
      step += steps_of(s++);
      while (s < a.segments && (step + steps_of(s) - block.first_step) * kTileK <= block_k) step += steps_of(s++);
      block.end_segment = s;
      block.first = block.first_segment == 0;
      block.last = s == a.segments;
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

// The operand of ldtilecfg.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

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
    void* weights = sums + Scratch::kSums;
    many<Line>(a, panel_begin, panel_end, {scratch, sums, static_cast<std::uint16_t*>(weights)});
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
