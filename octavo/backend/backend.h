// What a model calls to compute: about twenty coarse operations, implemented by backend/cpu and, later, by others.
// Everything above this interface is written once; everything below may choose its own layouts and instructions.
//
// Promises that every backend keeps (docs/numerics.md):
//  - Batch invariance: row r of a result depends on row r of the inputs alone (attention: on its own sequence), bit for
//    bit, whatever the number of rows, how a prompt was cut into calls, and the number of threads. Reduction order is
//    fixed by the reduced dimension alone.
//  - Compute::kF32 computes on FP32 values with FP32 sums. Compute::kBF16 rounds what goes into a matrix product
//    (Activations that no InputRounding takes to FP8, weights that are not FP8, keys and values) to BF16, once, and
//    sums in FP32.
//  - An FP8 code enters a product exactly; its scale is applied to sums, never to codes.
//
// One thread calls a backend at a time; a backend uses its own threads inside a call. Pointers in views are the
// device's: above this interface they are handed around, never read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/status.h"
#include "octavo/fp8/codec.h"

namespace octavo::backend {

enum class Compute : std::uint8_t { kF32, kBF16 };
std::string_view compute_name(Compute compute);  // "f32", "bf16"

// FP32 values on the device, row-major. A view: the memory is a Buffer's.
struct Matrix {
  float* data = nullptr;
  std::uint64_t rows = 0, cols = 0;
  std::uint64_t stride = 0;  // elements from row to row

  Matrix row_range(std::uint64_t begin, std::uint64_t count) const {
    return {data + begin * stride, count, cols, stride};
  }
  Matrix col_range(std::uint64_t begin, std::uint64_t count) const { return {data + begin, rows, count, stride}; }
};

// Device memory, owned by the caller, zeroed when made.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual float* data() = 0;
  virtual std::uint64_t size() const = 0;  // floats
  // All of it, or its beginning, as a dense matrix.
  Matrix matrix(std::uint64_t rows, std::uint64_t cols) { return {data(), rows, cols, cols}; }
};

// How the inputs of a linear layer are rounded to FP8 before the product (W8A8), as the checkpoint's scheme says.
// kNone: not rounded to FP8. Scales: amax / largest of a token's K values, or of its groups of `group` along K; at a
// scale of zero, 1. kStatic: the checkpoint's own. There is no batch-wide dynamic scale: it would make a token depend
// on its neighbours.
struct InputRounding {
  enum class Kind : std::uint8_t { kNone, kDynamicToken, kDynamicGroup, kStatic };
  Kind kind = Kind::kNone;
  std::uint64_t group = 0;   // kDynamicGroup: elements along K
  float scale = 1;           // kStatic
  bool pow2_scales = false;  // dynamic scales rounded up to powers of two (ue8m0)
  fp8::Format format = fp8::Format::kE4M3;

  friend bool operator==(const InputRounding&, const InputRounding&) = default;
};

// A linear layer y = x W^T + b as checkpoints hold it: W [n, k] row-major.
struct LinearSpec {
  std::uint64_t n = 0, k = 0;
  DType dtype = DType::kBF16;              // of the rows given to pack(): BF16, F16, F32 or an FP8 dtype
  std::uint64_t block_n = 0, block_k = 0;  // FP8: the region of one scale; n x k per tensor, 1 x k per channel
  InputRounding input = {};                // FP8 only

  std::uint64_t scale_rows() const { return block_n == 0 ? 0 : (n + block_n - 1) / block_n; }
  std::uint64_t scale_cols() const { return block_k == 0 ? 0 : (k + block_k - 1) / block_k; }
};

// A weight in the backend's own layout. Made by create_linear, filled by pack and set_scales. FP8 codes stay one byte
// an element, BF16 two; F16 and F32 become BF16 in Compute::kBF16 and F32 in Compute::kF32.
class LinearWeight {
 public:
  explicit LinearWeight(const LinearSpec& spec) : spec_(spec) {}
  virtual ~LinearWeight() = default;
  const LinearSpec& spec() const { return spec_; }
  virtual DType stored_dtype() const = 0;
  virtual std::uint64_t resident_bytes() const = 0;  // weights, scales, bias

 protected:
  LinearSpec spec_;
};

// A part of a weight [n, k].
struct Rectangle {
  std::uint64_t row_begin = 0, row_end = 0;
  std::uint64_t col_begin = 0, col_end = 0;
};

// One expert of a mixture and the rows it gets: [begin, end) of a list of rows that is sorted by expert.
struct ExpertRows {
  std::span<const LinearWeight* const> weights;  // side by side, as Backend::linear takes them
  std::uint64_t begin = 0, end = 0;
};

// What a linear layer reads: [rows, cols] in whatever form the backend multiplies (FP32 or BF16).
class Activations {
 public:
  virtual ~Activations() = default;
  virtual std::uint64_t rows() const = 0;  // as set by the operation that wrote it
  virtual std::uint64_t cols() const = 0;
};

enum class KvDType : std::uint8_t { kF32, kBF16, kFp8E4M3, kFp8E5M2 };
std::string_view kv_dtype_name(KvDType dtype);  // "f32", "bf16", "fp8_e4m3", "fp8_e5m2"

// Keys and values of every layer in blocks of `block_size` tokens. Which sequence owns a block is the caller's affair.
struct KvShape {
  std::uint64_t layers = 0, kv_heads = 0, head_dim = 0;
  std::uint64_t blocks = 0, block_size = 16;
  KvDType dtype = KvDType::kBF16;
  std::vector<float> k_scales, v_scales;  // FP8: one a layer; empty: 1
  std::uint64_t bytes() const;            // of all blocks
};

class KvCache {
 public:
  explicit KvCache(KvShape shape) : shape_(std::move(shape)) {}
  virtual ~KvCache() = default;
  const KvShape& shape() const { return shape_; }

 protected:
  KvShape shape_;
};

// Consecutive tokens of one sequence in a call: rows [row, row + count) of the matrices stand at positions
// [position, position + count) of the sequence. Token p lies in blocks[p / block_size], at p % block_size.
struct SequenceRows {
  std::uint64_t row = 0, count = 0;
  std::uint64_t position = 0;
  std::span<const std::int32_t> blocks;  // at least up to the last position; host memory
};

// Attention heads: query head h reads key/value head h / (heads / kv_heads).
struct AttentionShape {
  std::uint64_t heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 0;           // of the scores, 1 / sqrt(head_dim) as a rule
  std::uint64_t window = 0;  // tokens visible, the query's own among them; 0 = all
};

enum class GatedActivation : std::uint8_t { kSilu, kGeluTanh };

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string describe() const = 0;  // "cpu avx512, 2 threads"
  virtual Compute compute() const = 0;
  virtual bool has_fp8_units() const = 0;  // W8A8 in hardware; without it FP8 checkpoints run W8A16 by default

  // ---- memory. Running out of it is a failure that names the bytes.
  virtual Result<std::unique_ptr<Buffer>> create_buffer(std::uint64_t floats) = 0;
  virtual Result<std::unique_ptr<Activations>> create_activations(std::uint64_t max_rows, std::uint64_t max_cols) = 0;
  virtual Result<std::unique_ptr<KvCache>> create_kv_cache(const KvShape& shape) = 0;
  virtual Result<std::unique_ptr<LinearWeight>> create_linear(const LinearSpec& spec) = 0;
  virtual void upload(std::span<const float> values, Matrix to) = 0;  // dense, to.rows * to.cols values
  virtual void download(Matrix from, std::span<float> values) = 0;
  // Bytes that a weight will take, without making it.
  virtual std::uint64_t linear_bytes(const LinearSpec& spec) const = 0;

  // ---- weights. Packing is a pure function of one tensor: any rectangle of spec().dtype, row-major and contiguous in
  // `bytes`, goes to its place; the order of calls does not matter. Unlike everything else here, pack may run in
  // several threads at once, on disjoint rectangles. A NaN code in an FP8 weight is the caller's to refuse.
  virtual void pack(LinearWeight& weight, const Rectangle& part, std::span<const std::byte> bytes) = 0;
  virtual void set_scales(LinearWeight& weight, std::span<const float> scales) = 0;  // [scale_rows, scale_cols]
  virtual void set_bias(LinearWeight& weight, std::span<const float> bias) = 0;      // [n]
  // What stands there, out of the backend's layout: elements of stored_dtype(), row-major and contiguous; scales and
  // bias (zeros where there is none) as they were set. In several threads at once, while nobody writes there.
  // read_scales fails where copies of one scale differ.
  virtual void unpack(const LinearWeight& weight, const Rectangle& part, std::span<std::byte> bytes) const = 0;
  virtual Status read_scales(const LinearWeight& weight, std::span<float> scales) const = 0;
  virtual void read_bias(const LinearWeight& weight, std::span<float> bias) const = 0;

  // ---- operations
  // out[r] = row ids[r] of the table [vocab, hidden].
  virtual void embed(std::span<const std::int32_t> ids, const LinearWeight& table, Matrix out) = 0;
  // x * weight / sqrt(mean(x^2) + eps), per row. weight: [cols].
  virtual void rms_norm(Matrix x, const Buffer& weight, float eps, Activations& out) = 0;
  // out = [x W0^T + b0 | x W1^T + b1 | ...]: weights that read the same input, side by side. out: [rows, sum of n].
  virtual void linear(const Activations& x, std::span<const LinearWeight* const> weights, Matrix out) = 0;
  // residual += x W^T + b.
  virtual void linear_add(const Activations& x, const LinearWeight& weight, Matrix residual) = 0;
  // A mixture of experts, all in one call: out[i] = [x[rows[i]] W0^T + b0 | ...] with the weights of the expert that i
  // belongs to; the bits are those of linear() on that row. All weights have one K, one input rounding and the same
  // blocks along K; experts may have no rows. rows: [out.rows], as often as a row is routed.
  virtual void linear_experts(const Activations& x, std::span<const std::int32_t> rows,
                              std::span<const ExpertRows> experts, Matrix out) = 0;
  // table[r] = [cos(p f_0..), sin(p f_0..)] * factor with p = first_position + r. inv_freq: [half]; table: [rows, 2
  // half].
  virtual void rope_table(std::uint64_t first_position, std::span<const float> inv_freq, float factor,
                          Matrix table) = 0;
  // For every head of x [rows, heads * head_dim]: RMS norm with `norm` [head_dim] where given, then rotation of its
  // first 2 * half elements in halves (NeoX style: i with i + half). In place.
  virtual void norm_rope(Matrix x, std::uint64_t head_dim, const Buffer* norm, float eps, Matrix table) = 0;
  // Writes keys and values [rows, kv_heads * head_dim] to their places.
  virtual void store_kv(Matrix k, Matrix v, std::span<const SequenceRows> sequences, std::uint64_t layer,
                        KvCache& cache) = 0;
  // Causal attention of every row over its sequence, stored keys and values of the same call included.
  // q: [rows, heads * head_dim]; out: the same shape.
  virtual void attention(Matrix q, std::span<const SequenceRows> sequences, const AttentionShape& shape,
                         std::uint64_t layer, const KvCache& cache, Activations& out) = 0;
  // act(gate) * up, where gate_up = [gate | up]: [rows, 2 * cols] -> [rows, cols].
  virtual void gated_activation(Matrix gate_up, GatedActivation kind, Activations& out) = 0;
  // out[i] = x[rows[i]].
  virtual void gather_rows(Matrix x, std::span<const std::int32_t> rows, Matrix out) = 0;
  // For each row of logits [rows, vocab]: log softmax at targets[r] (natural logarithm) and its rank: 1 + the number
  // of larger logits. Host memory.
  virtual void token_logprobs(Matrix logits, std::span<const std::int32_t> targets, std::span<float> logprobs,
                              std::span<std::int32_t> ranks) = 0;
};

}  // namespace octavo::backend
