// One linear layer's tensors on their way into its shadow weight: values are encoded band by band as they become whole
// (whole tensors where one scale covers them), with the arithmetic of `octavo quantize`; codes are packed as they come.
#pragma once

#include <algorithm>
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
  // What a worker does at once.
  struct Work {
    LinearIntake* linear = nullptr;
    Band band;  // whole; or, of values whose scale is shared, some of a part's
    std::uint64_t part = 0, offset = 0;
    bool completes = false;  // the part is whole with them
  };

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

  // ---- values. One thread; the work is then done in several, before the next write.
  // `direct`: the group is complete with these, so that it is encoded before the sender has its memory back: if they
  // are all values of the tensor they need not be held. They are aligned to their dtype then.
  std::uint64_t would_hold(std::uint64_t offset, std::uint64_t bytes, bool direct) const;
  std::uint64_t held() const { return (bands_ ? bands_->held() : 0) + (held_ ? total_ : 0); }
  void write(std::uint64_t offset, std::span<const std::byte> bytes, bool direct, std::vector<Work>& work);
  // Any thread: encodes and packs a whole band; of values whose scale is shared, keeps and measures them.
  Status take(Work& work, EncodeBuffers& buffers);
  // Bytes of a band of values in this dtype.
  static std::uint64_t band_bytes(const model::LinearParameter& parameter, DType dtype);
  // Checksums of the bands from now on, as they came.
  void hash_bands() { hashing_ = true; }
  const std::vector<std::uint64_t>& hashes() const { return hashes_; }

  // ---- a scale that is shared: what is done when all that share it are there.
  bool measured() const { return shares() && parts_measured_ == parts_.size(); }
  float amax() const;  // of all values
  std::uint64_t parts() const { return parts_.size(); }
  Status encode_part(std::uint64_t part, float amax, EncodeBuffers& buffers);  // any thread
  void finish_shared(float amax);  // after all parts: the held values are let go

  // ---- codes and scales. `row`s and offsets of the weight.
  Status write_codes(std::uint64_t offset, std::span<const std::byte> bytes);
  void set_scales(std::vector<float> scales) { scales_ = std::move(scales); }
  const std::vector<float>& scales() const { return scales_; }  // [scale_rows, scale_cols]; empty: none, or not yet

 private:
  // Some rows of values whose scale is shared.
  struct Part {
    std::uint64_t there = 0;  // bytes
    std::optional<quant::PieceEncoder> encoder;
    float amax = 0;
  };
  bool is_direct(std::uint64_t bytes, bool direct) const;
  std::uint64_t part_bytes(std::uint64_t part) const { return std::min(part_bytes_, total_ - part * part_bytes_); }
  Status take_band(Band& band, EncodeBuffers& buffers);
  Status measure(std::uint64_t part);
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
  std::uint64_t total_ = 0;  // bytes
  std::optional<Bands> bands_;
  bool hashing_ = false;
  std::vector<std::uint64_t> hashes_;
  // Of a shared scale:
  std::uint64_t part_bytes_ = 0;
  std::vector<Part> parts_;
  std::size_t parts_measured_ = 0;
  BandMemory::Bytes held_;               // all values,
  std::span<const std::byte> not_held_;  // or where the sender has them, until finish_shared()
  std::vector<float> scales_;
};

}  // namespace octavo::rollout
