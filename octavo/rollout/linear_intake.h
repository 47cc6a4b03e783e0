// One linear layer's tensors on their way into its shadow weight: values are encoded band by band as they become whole
// (whole tensors where one scale covers them), with the arithmetic of `octavo quantize`; codes are packed as they come.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/backend/cpu/encode.h"
#include "octavo/base/scratch.h"
#include "octavo/model/parameters.h"
#include "octavo/quant/encode_piece.h"
#include "octavo/rollout/bands.h"

namespace octavo::rollout {

// Of one worker.
struct EncodeBuffers {
  Scratch<std::byte> values, converted;
  Scratch<std::uint8_t> codes;
};

class LinearIntake {
 public:
  // All must outlive it. `weight` was made with parameter.spec.
  LinearIntake(const model::LinearParameter& parameter, quant::NonFinite nonfinite, backend::Backend& backend,
               const cpu::EncodeKernels& kernels, backend::LinearWeight& weight, BandMemory& memory);

  const model::LinearParameter& parameter() const { return parameter_; }
  backend::LinearWeight& weight() const { return weight_; }
  // The weight's tensor will come in this dtype. A failure where the running model cannot take it.
  Status begin(DType dtype);
  bool begun() const { return dtype_.has_value(); }
  bool codes() const { return dtype_ && is_fp8(*dtype_); }
  // Values whose scale other weights share, or that have one scale: held until encode_shared().
  bool shares() const { return begun() && !codes() && parameter_.shared.has_value(); }

  // ---- values. One thread; the bands are then worked on in several.
  std::uint64_t would_hold(std::uint64_t offset, std::uint64_t bytes) const {
    return shares() && bytes == bands_->band_bytes() ? bytes : bands_->would_hold(offset, bytes);
  }
  std::uint64_t held() const { return bands_ ? bands_->held() + held_band_.size() : 0; }
  void write(std::uint64_t offset, std::span<const std::byte> bytes,
             std::vector<std::pair<LinearIntake*, Band>>& whole);
  // Any thread: encodes and packs a whole band.
  Status take(Band& band, EncodeBuffers& buffers);

  // ---- a scale that is shared: the tensor is held as one band, whole.
  bool holds_all() const { return !held_band_.empty(); }
  std::uint64_t parts() const;
  Result<float> measure(std::uint64_t part);  // its largest magnitude; any thread, each part once, before the next:
  Status encode_part(std::uint64_t part, float amax, EncodeBuffers& buffers);
  void finish_shared(float amax);  // after all parts: the held values are let go

  // ---- codes and scales. `row`s and offsets of the weight.
  Status write_codes(std::uint64_t offset, std::span<const std::byte> bytes);
  void set_scales(std::vector<float> scales) { scales_ = std::move(scales); }
  const std::vector<float>& scales() const { return scales_; }  // [scale_rows, scale_cols]; empty: none, or not yet

 private:
  quant::PieceEncoder encoder(std::span<std::byte> values, std::uint64_t rows) const;
  Status make_finite(quant::PieceEncoder& encoder, std::uint64_t row) const;
  Status take_kept(std::span<std::byte> values, std::uint64_t row, std::uint64_t rows, EncodeBuffers& buffers);

  const model::LinearParameter& parameter_;
  const quant::NonFinite nonfinite_;
  backend::Backend& backend_;
  const cpu::EncodeKernels& kernels_;
  backend::LinearWeight& weight_;
  BandMemory& memory_;
  std::optional<DType> dtype_;
  quant::WeightEncoding encoding_;
  std::uint64_t band_rows_ = 0;
  std::optional<Bands> bands_;
  BandMemory::Bytes held_;  // of a shared scale: all values
  std::span<std::byte> held_band_;
  std::vector<std::optional<quant::PieceEncoder>> held_parts_;
  std::vector<float> scales_;
};

}  // namespace octavo::rollout
