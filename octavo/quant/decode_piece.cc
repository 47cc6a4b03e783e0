// Runs of codes under one scale; where every column has its own, whole rows at a time.
#include "octavo/quant/decode_piece.h"

#include <algorithm>
#include <cmath>

#include "octavo/base/text.h"

namespace octavo::quant {
namespace {

class Piece {
 public:
  Piece(const Checkpoint& checkpoint, const QuantizedWeight& weight, const Extent& extent, DType dtype,
        const cpu::EncodeKernels& kernels)
      : checkpoint_(checkpoint),
        kernels_(kernels),
        weight_(weight),
        extent_(extent),
        format_(static_cast<std::size_t>(code_format(weight.weight->dtype))),
        f32_(dtype == DType::kF32),
        width_(dtype_bytes(dtype)) {}

  Status decode(std::vector<std::byte>& codes, std::span<std::byte> out) {
    codes.resize(static_cast<std::size_t>(extent_.count()));
    OCTAVO_TRY(checkpoint_.read_rectangle(
        *weight_.weight, {extent_.row_begin, extent_.row_end, extent_.col_begin, extent_.col_end}, codes));
    code_ = reinterpret_cast<const std::uint8_t*>(codes.data());
    out_ = out.data();
    for (std::uint64_t row = extent_.row_begin; row < extent_.row_end;) {
      const std::uint64_t expert_end = (row / weight_.rows + 1) * weight_.rows;
      const std::uint64_t end = std::min(extent_.row_end, expert_end);
      OCTAVO_TRY(read_scales(row, end));
      for (; row < end; ++row) weight_.transposed() ? columns(row) : runs(row);
    }
    return {};
  }

 private:
  // Of rows of one expert: part of a row of the scale grid, or several rows with what lies between them.
  Status read_scales(std::uint64_t row, std::uint64_t end) {
    first_ = weight_.scale_index(row, extent_.col_begin);
    const std::uint64_t last = weight_.scale_index(end - 1, extent_.col_end - 1);
    OCTAVO_ASSIGN(scales_, checkpoint_.read_scales(*weight_.scale, first_, last - first_ + 1));
    // Zero is what some tools write for a weight of zeros.
    const auto wrong = std::find_if(scales_.begin(), scales_.end(), [](float s) { return !(s >= 0) || std::isinf(s); });
    if (wrong != scales_.end()) {
      return failure("tensor \"{}\": holds the scale {}; a scale must be positive and finite",
                     printable(weight_.scale->name), *wrong);
    }
    return {};
  }
  float scale_at(std::uint64_t row, std::uint64_t col) const {
    return scales_[static_cast<std::size_t>(weight_.scale_index(row, col) - first_)];
  }

  // One scale holds until the block ends.
  void runs(std::uint64_t row) {
    for (std::uint64_t col = extent_.col_begin; col < extent_.col_end;) {
      const std::uint64_t run = std::min(extent_.col_end, (col / weight_.block_k + 1) * weight_.block_k) - col;
      const float scale = scale_at(row, col);
      if (f32_) {
        kernels_.decode_to_f32[format_](code_, run, scale, reinterpret_cast<float*>(out_));
      } else {
        kernels_.decode_to_bf16[format_](code_, run, scale, reinterpret_cast<std::uint16_t*>(out_));
      }
      col += run;
      code_ += run;
      out_ += run * width_;
    }
  }

  // A scale a column: codes are exact in F32, then one multiplication each.
  void columns(std::uint64_t row) {
    const auto n = static_cast<std::size_t>(extent_.cols());
    row_.resize(n);
    kernels_.decode_to_f32[format_](code_, n, 1.0f, row_.data());
    const float* scales = scales_.data() + (weight_.scale_index(row, extent_.col_begin) - first_);
    float* values = f32_ ? reinterpret_cast<float*>(out_) : row_.data();
    for (std::size_t i = 0; i < n; ++i) values[i] = row_[i] * scales[i];
    if (!f32_) kernels_.f32_to_bf16(values, reinterpret_cast<std::uint16_t*>(out_), n);
    code_ += n;
    out_ += n * width_;
  }

  const Checkpoint& checkpoint_;
  const cpu::EncodeKernels& kernels_;
  const QuantizedWeight& weight_;
  const Extent extent_;
  const std::size_t format_;
  const bool f32_;
  const std::size_t width_;
  const std::uint8_t* code_ = nullptr;
  std::byte* out_ = nullptr;
  std::vector<float> row_, scales_;
  std::uint64_t first_ = 0;  // index of scales_[0]
};

}  // namespace

Extent whole_extent(const QuantizedWeight& weight) { return {0, weight.experts * weight.rows, 0, weight.columns}; }

Status decode_extent(const Checkpoint& checkpoint, const QuantizedWeight& weight, const Extent& extent, DType dtype,
                     const cpu::EncodeKernels& kernels, std::vector<std::byte>& codes, std::span<std::byte> out) {
  return Piece(checkpoint, weight, extent, dtype, kernels).decode(codes, out);
}

}  // namespace octavo::quant
