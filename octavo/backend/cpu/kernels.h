// The kernels of the CPU backend as one table of functions per instruction set. What they compute, and in which order,
// is written once in linear_impl.h, attention_impl.h and rows_impl.h; docs/numerics.md says it in words.
//
// All are pure functions of their arguments but for the scratch memory, which is the calling thread's own. Nothing here
// allocates. Pointers called "rows of floats" have rows of a multiple of kPad floats whose tail is zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/base/cpu.h"

namespace octavo::cpu {

inline constexpr std::uint64_t kPad = 16;  // floats; a multiple of every instruction set's vector

// How a stored element becomes a float. kE4M3 and kE4M3Finite decode to the code's value times 2^-8, which is what the
// exponent of FP16 makes of it; whoever sums multiplies by kE4M3Factor, exactly. kE4M3Finite is for codes among which
// there is no NaN. kTable reads a table of 256 floats.
enum class Element : std::uint8_t { kE4M3, kE4M3Finite, kE5M2, kTable, kBF16, kF32 };
inline constexpr float kE4M3Factor = 0x1p8f;

// A linear layer's weight lies in panels of kPanel outputs, zeros beyond the last; in a panel stand, for every two
// elements of K, those of its outputs: [panels, padded K / 2, kPanel, 2]. FP32 elements: [panels, padded K, kPanel]. So
// every instruction set finds its outputs in its lanes and reads memory in one direction; pairs of K are what a BF16
// dot product (and AMX) takes.
inline constexpr std::uint64_t kPanel = 32;
inline constexpr std::uint64_t kPair = 2;

// The BF16 numbers of the 128 codes without sign, by low and high byte.
struct Bf16Table {
  alignas(64) std::uint8_t low[128];
  std::uint8_t high[128];
};

// y[t, n] = (sum over segments s of (sum over k in s of x[t, k] w[n, k]) * w_scale * x_scale) * factor * x_row_scale *
// w_row_scale + bias, for the panels in a range. A segment is a run of K, padded to kPair with zeros.
struct LinearArgs {
  const std::byte* weight = nullptr;
  std::uint64_t panel_bytes = 0;
  std::uint64_t n = 0;
  Element element = Element::kBF16;
  const float* table = nullptr;           // kTable
  const Bf16Table* bf16_table = nullptr;  // FP8, for kernels that multiply BF16
  bool negative_zero_is_nan = false;      // FNUZ codes among which there may be NaN, for the same

  const std::uint64_t* segment_begins = nullptr;  // [segments + 1], in padded elements
  std::uint64_t segments = 0;

  const float* segment_scales = nullptr;  // [panels, segments, segment_scale_width], or null
  std::uint64_t segment_scale_width = 1;  // 1: one for the panel; kPanel
  const float* row_scales = nullptr;      // [panels * kPanel], or null
  float factor = 1;
  const float* bias = nullptr;  // [panels * kPanel], or null

  // The inputs in the form of Kernels::inputs, in tiles of at most Kernels::tile_tokens tokens: tile i has the tokens
  // [token_tiles[i], token_tiles[i + 1]) and lies at token_tiles[i] * x_stride.
  const void* x = nullptr;
  std::uint64_t x_stride = 0;  // elements of a token, at least padded K (kBf16Tiles: padded to kTileK)
  const std::uint64_t* token_tiles = nullptr;
  std::uint64_t tiles = 0;
  const float* x_segment_scales = nullptr;  // [tokens, segments], or null
  const float* x_row_scales = nullptr;      // [tokens], or null

  float* out = nullptr;  // [tokens, n]
  std::uint64_t out_stride = 0;
  bool add = false;  // to what is there
};
// How linear() takes its inputs.
enum class InputForm : std::uint8_t {
  kF32Pairs,   // FP32, tiles of [padded K / 2, tokens, 2]
  kBf16Pairs,  // the same in BF16
  // BF16, tiles of exactly Kernels::tile_tokens rows: [padded K / kTileK, tile_tokens, kTileK]. Segments are padded to
  // kTileK with zeros; rows beyond the tokens may hold anything.
  kBf16Tiles,
};
inline constexpr std::uint64_t kTileK = 32;
// Elements that a token's inputs should have beyond padded K: with a power of two from tile to tile, the same elements
// of all tokens would fall on few sets of the caches.
inline constexpr std::uint64_t kInputSpread = 288;
static_assert(kInputSpread % kTileK == 0);
inline constexpr std::uint64_t kMaxSegment = 256;  // elements of K

// Softmax(q k^T * scale) v for consecutive tokens of one sequence and one key/value head. Keys lie in groups of
// kKeyGroup tokens, [group][head_dim][kKeyGroup], so that lanes are tokens; values [token][padded head_dim].
struct AttentionArgs {
  const float* q = nullptr;  // of the first token, first query head of this key/value head; head h at + h * head_dim
  std::uint64_t q_stride = 0;
  float* out = nullptr;  // the same shape
  std::uint64_t out_stride = 0;
  std::uint64_t group = 1;  // query heads per key/value head
  std::uint64_t head_dim = 0;
  float scale = 1;
  std::uint64_t window = 0;  // 0 = all

  Element element = Element::kBF16;
  const float* table = nullptr;
  float k_factor = 1, v_factor = 1;  // what sums are multiplied by: the cache's scales and kE4M3Factor
  const std::byte* keys = nullptr;   // of this layer and head in block 0
  const std::byte* values = nullptr;
  std::uint64_t key_block_bytes = 0, value_block_bytes = 0;  // from block to block
  std::uint64_t block_size = 0;

  const std::int32_t* blocks = nullptr;
  std::uint64_t position = 0;  // of the first token
  std::uint64_t tokens = 0;    // tokens * group <= kMaxQueries

  // Of the splits of the sequence, the first and how many to compute. With `states`, what each comes to goes there,
  // [splits, queries, attention_state], for merge_attention; they must be zero before: a split that no query sees is
  // left so. Else all is merged and goes to `out`.
  std::uint64_t first_split = 0, splits = ~std::uint64_t{0};
  float* states = nullptr;
};
inline constexpr std::uint64_t kKeyGroup = 16;    // tokens
inline constexpr std::uint64_t kChunk = 64;       // positions that share one step of the online softmax
inline constexpr std::uint64_t kMaxQueries = 32;  // query heads times tokens of one call
// Positions after which the online softmax begins anew, so that they can be computed apart.
inline constexpr std::uint64_t kSplit = 1024;
static_assert(kSplit % kChunk == 0);
// Floats of a query's state: its output so far, padded; then largest score, sum, padding.
[[gnu::always_inline]] constexpr std::uint64_t attention_state(std::uint64_t head_dim) {
  return (head_dim + kPad - 1) / kPad * kPad + kPad;
}

struct Kernels {
  // Of linear(): the form of its inputs, the tokens of a tile, and of a call.
  InputForm inputs;
  std::uint64_t tile_tokens, max_tokens;
  // Floats of scratch per thread.
  std::uint64_t linear_scratch;
  std::uint64_t (*attention_scratch)(std::uint64_t head_dim);

  void (*linear)(const LinearArgs& args, std::uint64_t panel_begin, std::uint64_t panel_end, float* scratch);
  // out[i] = the value of element i (E4M3: times 2^-8). `in` can be read up to a multiple of kPad elements.
  void (*decode)(Element element, const float* table, const std::byte* in, std::uint64_t count, float* out);

  void (*attention)(const AttentionArgs& args, float* scratch);
  // The outputs from [splits, queries, attention_state].
  void (*merge_attention)(const AttentionArgs& args, std::uint64_t splits);

  // The rest works on one row. `out` of those that write activations has room up to a multiple of kPad, made zero.
  void (*rms_norm)(const float* x, const float* weight, std::uint64_t count, float eps, float* out);
  void (*norm_heads)(float* x, std::uint64_t heads, std::uint64_t head_dim, const float* weight, float eps);
  void (*rope_heads)(float* x, std::uint64_t heads, std::uint64_t head_dim, const float* table, std::uint64_t half);
  void (*silu_gate)(const float* gate, const float* up, std::uint64_t count, float* out);
  void (*gelu_tanh_gate)(const float* gate, const float* up, std::uint64_t count, float* out);
  void (*token_logprob)(const float* logits, std::uint64_t count, std::int32_t target, float* logprob,
                        std::int32_t* rank);
};

// The kernels of `isa`, which this machine must have (select_isa sees to that). `bf16`: whether linear layers may
// multiply BF16; kAvx512Bf16 and kAmx without it are kAvx512.
const Kernels& kernels(Isa isa, bool bf16);

namespace scalar {
Kernels kernels();
}
#if defined(__x86_64__)
namespace avx2 {
Kernels kernels();
}
namespace avx512 {
Kernels kernels();
}
namespace avx512_bf16 {
Kernels kernels();
}
namespace amx {
Kernels kernels();
}
#endif

}  // namespace octavo::cpu
