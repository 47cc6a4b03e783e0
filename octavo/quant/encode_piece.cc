// Amax, scale, codes of a piece, on the kernels of backend/cpu.
#include "octavo/quant/encode_piece.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"

namespace octavo::quant {
namespace {

// Bits of infinity with the sign cleared: what is not below is not finite.
constexpr std::uint16_t kInfBf16 = 0x7F80, kInfF16 = 0x7C00;
constexpr std::uint32_t kInfF32 = 0x7F800000;

float to_float(DType dtype, const std::byte* at) {
  if (dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return dtype == DType::kBF16 ? fp8::bf16_to_float(bits) : fp8::f16_to_float(bits);
}

}  // namespace

void PieceEncoder::load(std::span<std::byte> data, std::uint64_t rows, std::uint64_t cols) {
  data_ = data.data();
  rows_ = rows;
  cols_ = cols;
  if (dtype_ != DType::kF32 || !encoding_.via_bf16) return;
  // In place, front to back: the BF16 values end before the floats still to be read. The kernel forbids overlap, so
  // each stretch goes through a small buffer.
  constexpr std::size_t kStretch = 1024;
  std::array<float, kStretch> wide;
  const std::uint64_t count = rows * cols;
  for (std::uint64_t i = 0; i < count; i += kStretch) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(kStretch, count - i));
    std::memcpy(wide.data(), data_ + 4 * i, 4 * n);
    kernels_.f32_to_bf16(wide.data(), reinterpret_cast<std::uint16_t*>(data_ + 2 * i), n);
  }
  dtype_ = DType::kBF16;
}

std::optional<float> PieceEncoder::amax(std::uint64_t row_begin, std::uint64_t row_end, std::uint64_t col_begin,
                                        std::uint64_t col_end) const {
  const std::size_t width = static_cast<std::size_t>(col_end - col_begin);
  if (dtype_ == DType::kF32) {
    std::uint32_t bits = 0;
    for (std::uint64_t r = row_begin; r < row_end; ++r) {
      bits = std::max(bits, kernels_.amax_bits32(reinterpret_cast<const float*>(data_) + r * cols_ + col_begin, width));
    }
    if (bits >= kInfF32) return std::nullopt;
    return std::bit_cast<float>(bits);
  }
  std::uint16_t bits = 0;
  for (std::uint64_t r = row_begin; r < row_end; ++r) {
    bits = std::max(bits,
                    kernels_.amax_bits16(reinterpret_cast<const std::uint16_t*>(data_) + r * cols_ + col_begin, width));
  }
  if (bits >= (dtype_ == DType::kBF16 ? kInfBf16 : kInfF16)) return std::nullopt;
  return dtype_ == DType::kBF16 ? fp8::bf16_to_float(bits) : fp8::f16_to_float(bits);
}

std::optional<NonFiniteAt> PieceEncoder::find_nonfinite() const {
  const unsigned bytes = dtype_bytes(dtype_);
  for (std::uint64_t i = 0; i < rows_ * cols_; ++i) {
    const float value = to_float(dtype_, data_ + i * bytes);
    if (!std::isfinite(value)) return NonFiniteAt{i / cols_, i % cols_, value};
  }
  return std::nullopt;
}

std::uint64_t PieceEncoder::zero_nonfinite() {
  const unsigned bytes = dtype_bytes(dtype_);
  std::uint64_t count = 0;
  for (std::uint64_t i = 0; i < rows_ * cols_; ++i) {
    if (std::isfinite(to_float(dtype_, data_ + i * bytes))) continue;
    std::memset(data_ + i * bytes, 0, bytes);
    ++count;
  }
  return count;
}

float PieceEncoder::scale(float amax) const {
  return fp8::scale_from_amax(amax, encoding_.format, encoding_.scale_dtype, encoding_.pow2_scales);
}

bool PieceEncoder::encode(std::span<std::uint8_t> codes, std::span<float> scales, Distortion* distortion) const {
  const std::uint64_t block_n = std::min(encoding_.block_n, rows_), block_k = std::min(encoding_.block_k, cols_);
  std::size_t next = 0;
  for (std::uint64_t r = 0; r < rows_; r += block_n) {
    const std::uint64_t row_end = std::min(r + block_n, rows_);
    for (std::uint64_t c = 0; c < cols_; c += block_k) {
      const std::uint64_t col_end = std::min(c + block_k, cols_);
      const auto largest = amax(r, row_end, c, col_end);
      if (!largest) return false;
      const float s = scale(*largest);
      scales[next++] = s;
      for (std::uint64_t row = r; row < row_end; ++row) {
        encode_row(row, c, col_end, s, codes.data() + row * cols_ + c, distortion);
      }
    }
  }
  return true;
}

void PieceEncoder::encode_at(float scale, std::span<std::uint8_t> codes, Distortion* distortion) const {
  encode_row(0, 0, rows_ * cols_, scale, codes.data(), distortion);  // contiguous: one long row
}

void PieceEncoder::encode_row(std::uint64_t row, std::uint64_t col_begin, std::uint64_t col_end, float scale,
                              std::uint8_t* codes, Distortion* distortion) const {
  const auto format = static_cast<std::size_t>(encoding_.format);
  const std::uint64_t at = row * cols_ + col_begin;
  const auto count = static_cast<std::size_t>(col_end - col_begin);
  switch (dtype_) {
    case DType::kF32:
      kernels_.encode_f32[format](reinterpret_cast<const float*>(data_) + at, codes, count, scale);
      break;
    case DType::kF16:
      kernels_.encode_f16[format](reinterpret_cast<const std::uint16_t*>(data_) + at, codes, count, scale);
      break;
    default:
      kernels_.encode_bf16[format](reinterpret_cast<const std::uint16_t*>(data_) + at, codes, count, scale);
      break;
  }
  if (distortion == nullptr) return;
  const auto& table = fp8::decode_table(encoding_.format);
  for (std::size_t i = 0; i < count; ++i) {
    const double x = to_float(dtype_, data_ + (at + i) * dtype_bytes(dtype_));
    const double difference = x - static_cast<double>(table[codes[i]]) * static_cast<double>(scale);
    distortion->signal += x * x;
    distortion->noise += difference * difference;
  }
}

void store_scales(std::span<const float> scales, fp8::ScaleDType dtype, std::vector<std::byte>& out) {
  if (dtype == fp8::ScaleDType::kF32) {
    out.resize(scales.size() * 4);
    std::memcpy(out.data(), scales.data(), out.size());
    return;
  }
  out.resize(scales.size() * 2);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const std::uint16_t bits = fp8::float_to_bf16(scales[i]);
    std::memcpy(out.data() + 2 * i, &bits, 2);
  }
}

}  // namespace octavo::quant
