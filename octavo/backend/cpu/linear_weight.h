// A linear layer's weight as the CPU kernels read it: panels of outputs (kernels.h), cut into segments along K.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/backend/cpu/kernels.h"
#include "octavo/backend/cpu/linear_pack.h"
#include "octavo/backend/cpu/memory.h"

namespace octavo::cpu {

// How K is cut. A segment ends where a scale of the weight or of its rounded input ends, and after kMaxSegment elements
// at the latest; each begins at a multiple of kPair. Sums are formed within segments first, so this is part of the
// numerics; it depends on the spec alone.
struct Segments {
  std::vector<std::uint64_t> starts;   // [count + 1]: first element of K; then K
  std::vector<std::uint64_t> offsets;  // [count + 1]: the same in padded elements
  std::uint64_t count() const { return starts.size() - 1; }
  std::uint64_t padded() const { return offsets.back(); }
  // Whether padding of each segment to a multiple of `unit` stands anywhere but at the end.
  bool moves_elements(std::uint64_t unit) const;

  friend bool operator==(const Segments&, const Segments&) = default;
};
Segments make_segments(std::uint64_t k, std::uint64_t block_k, std::uint64_t group);

class CpuLinearWeight : public backend::LinearWeight {
 public:
  static Result<std::unique_ptr<CpuLinearWeight>> create(const backend::LinearSpec& spec, backend::Compute compute);
  static std::uint64_t bytes(const backend::LinearSpec& spec, backend::Compute compute);

  DType stored_dtype() const override { return stored_; }
  std::uint64_t resident_bytes() const override;

  void pack(const backend::Rectangle& part, std::span<const std::byte> bytes);
  void set_scales(std::span<const float> scales);
  void set_bias(std::span<const float> bias);
  // Backend::unpack, read_scales, read_bias.
  void unpack(const backend::Rectangle& part, std::span<std::byte> bytes) const;
  Status read_scales(std::span<float> scales) const;
  void read_bias(std::span<float> bias) const;

  const Segments& segments() const { return segments_; }
  Element element() const;
  // The fields of LinearArgs that describe the weight.
  LinearArgs args() const;
  // out[k] = W[row, k] * scale.
  void decode_row(const Kernels& kernels, std::uint64_t row, float* out) const;

 private:
  CpuLinearWeight(const backend::LinearSpec& spec, DType stored);
  PanelLayout layout() const { return {segments_.padded(), dtype_bytes(stored_)}; }
  // A scale for every segment; else one a row of scales.
  bool scales_by_segment() const { return spec_.scale_cols() > 1; }

  DType stored_;
  Segments segments_;
  Memory data_;    // panels
  Memory scales_;  // [panels, segments, scale width], or [panels * kPanel]
  Memory bias_;    // [panels * kPanel]
  bool has_bias_ = false;
  std::atomic<bool> has_nan_{false};  // a NaN code was packed at some time
};

}  // namespace octavo::cpu
