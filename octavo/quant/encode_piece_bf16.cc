// Quantization as PyTorch does it on BF16 tensors, for comparisons with llm-compressor (compressed-tensors 0.20 on a
// CPU): every result is rounded to BF16 before it is used. Scalar: nobody waits for it.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"
#include "octavo/quant/encode_piece.h"

namespace octavo::quant {
namespace {

float round_bf16(float value) { return fp8::bf16_to_float(fp8::float_to_bf16(value)); }

}  // namespace

float PieceEncoder::scale_bf16(float amax) const {
  if (encoding_.granularity == Granularity::kGroup) {
    // compressed_tensors' generate_mx_scales: a largest magnitude of 1.75 or more times a power of two counts as the
    // next one, whose exponent less floor(log2(448)) = 8 is stored. What is below the smallest exponent gets that.
    constexpr std::uint32_t kQuarter = 32, kMantissaBits = 7, kOffset = 8;
    const std::uint32_t exponent = (std::uint32_t{fp8::float_to_bf16(amax)} + kQuarter) >> kMantissaBits;
    return fp8::e8m0_decode(static_cast<std::uint8_t>(exponent > kOffset ? exponent - kOffset : 0));
  }
  const float scale = round_bf16(amax / fp8::max_value(encoding_.format));
  return scale != 0 ? scale : 0x1p-7f;  // torch.finfo(bfloat16).eps
}

bool PieceEncoder::encode_bf16(std::span<std::uint8_t> codes, std::span<float> scales, Distortion* distortion) const {
  std::size_t next = 0;
  for (std::uint64_t r = 0; r < rows_; r += std::min(encoding_.block_n, rows_)) {
    const std::uint64_t rows = std::min(encoding_.block_n, rows_ - r);
    for (std::uint64_t c = 0; c < cols_; c += std::min(encoding_.block_k, cols_)) {
      const std::uint64_t cols = std::min(encoding_.block_k, cols_ - c);
      const auto largest = amax(r, r + rows, c, c + cols);
      if (!largest) return false;
      scales[next] = scale_bf16(*largest);
      encode_bf16_at(scales[next++], {r * cols_ + c, rows, cols}, codes, distortion);
    }
  }
  return true;
}

bool PieceEncoder::encode_bf16_at(float scale, const Stretch& region, std::span<std::uint8_t> codes,
                                  Distortion* distortion) const {
  bool finite = true;
  const float most = fp8::max_value(encoding_.format);
  for (std::uint64_t r = 0; r < region.rows; ++r) {
    for (std::uint64_t i = region.begin + r * cols_, end = i + region.cols; i < end; ++i) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, data_ + 2 * i, sizeof bits);
      const float value = fp8::bf16_to_float(bits);
      finite = finite && std::isfinite(value);
      codes[i] = fp8::encode(encoding_.format, std::clamp(round_bf16(value / scale), -most, most));
      if (distortion == nullptr) continue;
      const double error = double{value} - double{fp8::decode(encoding_.format, codes[i])} * double{scale};
      distortion->signal += double{value} * double{value};
      distortion->noise += error * error;
    }
  }
  return finite;
}

}  // namespace octavo::quant
