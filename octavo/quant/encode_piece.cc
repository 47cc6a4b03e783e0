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

// The value of bits without a sign, where it is finite.
std::optional<float> to_magnitude(DType dtype, std::uint32_t bits) {
  if (dtype == DType::kF32) return bits >= kInfF32 ? std::nullopt : std::optional(std::bit_cast<float>(bits));
  const auto word = static_cast<std::uint16_t>(bits);
  if (dtype == DType::kBF16) return word >= kInfBf16 ? std::nullopt : std::optional(fp8::bf16_to_float(word));
  return word >= kInfF16 ? std::nullopt : std::optional(fp8::f16_to_float(word));
}

// Every value is looked at twice, first for its region's scale. The work is cut so that the second look finds it in a
// near cache; in bytes of source:
constexpr std::uint64_t kRunBytes = 32 << 10;     // of what is contiguous: within a first-level cache
constexpr std::uint64_t kStretchBytes = 1 << 20;  // of a row of regions: within a second-level cache
constexpr std::uint64_t kWideRegion = 512;        // columns from which on amax of a region's row is worth a call

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

std::uint32_t PieceEncoder::amax_bits(std::uint64_t at, std::uint64_t count) const {
  const auto n = static_cast<std::size_t>(count);
  if (dtype_ == DType::kF32) return kernels_.amax_bits32(reinterpret_cast<const float*>(data_) + at, n);
  return kernels_.amax_bits16(reinterpret_cast<const std::uint16_t*>(data_) + at, n);
}

std::optional<float> PieceEncoder::amax(std::uint64_t row_begin, std::uint64_t row_end, std::uint64_t col_begin,
                                        std::uint64_t col_end) const {
  const std::uint64_t width = col_end - col_begin;
  std::uint32_t bits = 0;
  if (width == cols_) {
    bits = amax_bits(row_begin * cols_, (row_end - row_begin) * cols_);
  } else {
    for (std::uint64_t r = row_begin; r < row_end; ++r) bits = std::max(bits, amax_bits(r * cols_ + col_begin, width));
  }
  return to_magnitude(dtype_, bits);
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

cpu::PreparedScale PieceEncoder::prepare(float amax) const {
  cpu::PreparedScale prepared = cpu::prepare_scale(encoding_.format, scale(amax));
  prepared.fits = true;  // a scale rounded to BF16 is at most 2^-8 too small
  return prepared;
}

// Rows [row_begin, row_end) of a row of regions, and whole regions of its columns.
struct PieceEncoder::Stretch {
  std::uint64_t row_begin, row_end, col_begin, col_end;
};

// The scales of a stretch's regions; false when one is not finite. `largest` is scratch memory.
template <typename T>
bool PieceEncoder::find_scales(const Stretch& stretch, std::vector<T>& largest,
                               std::vector<cpu::PreparedScale>& scales) const {
  const std::uint64_t block_k = std::min(encoding_.block_k, cols_), width = stretch.col_end - stretch.col_begin;
  scales.clear();
  const auto add = [&](std::optional<float> amax) {
    if (amax) scales.push_back(prepare(*amax));
    return amax.has_value();
  };
  if (stretch.row_end - stretch.row_begin == 1 || block_k >= kWideRegion) {
    for (std::uint64_t c = stretch.col_begin; c < stretch.col_end; c += block_k) {
      if (!add(amax(stretch.row_begin, stretch.row_end, c, std::min(c + block_k, stretch.col_end)))) return false;
    }
    return true;
  }
  // Narrow regions: along the rows, as memory likes to be read, and only then over the columns of each region.
  largest.assign((width + cpu::kMaxBitsPad - 1) / cpu::kMaxBitsPad * cpu::kMaxBitsPad, 0);
  for (std::uint64_t r = stretch.row_begin; r < stretch.row_end; ++r) {
    const std::uint64_t at = r * cols_ + stretch.col_begin;
    if constexpr (sizeof(T) == 4) {
      kernels_.max_bits32(reinterpret_cast<const float*>(data_) + at, width, largest.data());
    } else {
      kernels_.max_bits16(reinterpret_cast<const std::uint16_t*>(data_) + at, width, largest.data());
    }
  }
  for (std::uint64_t c = 0; c < width; c += block_k) {
    const std::uint64_t count = std::min(block_k, width - c);
    std::uint32_t bits = 0;
    if constexpr (sizeof(T) == 4) {
      bits = *std::max_element(&largest[c], &largest[c] + count);
    } else {
      bits = kernels_.amax_bits16(&largest[c], count);
    }
    if (!add(to_magnitude(dtype_, bits))) return false;
  }
  return true;
}

bool PieceEncoder::encode(std::span<std::uint8_t> codes, std::span<float> scales, Distortion* distortion) const {
  if (rows_ == 0 || cols_ == 0) return true;
  const std::uint64_t block_n = std::min(encoding_.block_n, rows_), block_k = std::min(encoding_.block_k, cols_);
  if (block_n == 1 && cols_ % block_k == 0) return encode_contiguous(block_k, codes, scales, distortion);
  const std::uint64_t regions = std::max<std::uint64_t>(1, kStretchBytes / (block_n * block_k * dtype_bytes(dtype_)));
  std::vector<std::uint16_t> largest16;
  std::vector<std::uint32_t> largest32;
  std::vector<cpu::PreparedScale> prepared;
  std::size_t next = 0;
  for (std::uint64_t r = 0; r < rows_; r += block_n) {
    for (std::uint64_t c = 0; c < cols_; c += regions * block_k) {
      const Stretch stretch{r, std::min(r + block_n, rows_), c, std::min(c + regions * block_k, cols_)};
      const bool finite =
          dtype_ == DType::kF32 ? find_scales(stretch, largest32, prepared) : find_scales(stretch, largest16, prepared);
      if (!finite) return false;
      for (const cpu::PreparedScale& s : prepared) scales[next++] = s.scale;
      for (std::uint64_t row = stretch.row_begin; row < stretch.row_end; ++row) {
        const std::uint64_t at = row * cols_ + stretch.col_begin;
        encode_run(at, stretch.col_end - stretch.col_begin, prepared.data(), block_k, codes.data() + at, distortion);
      }
    }
  }
  return true;
}

// encode() where regions are contiguous, `group` values each.
bool PieceEncoder::encode_contiguous(std::uint64_t group, std::span<std::uint8_t> codes, std::span<float> scales,
                                     Distortion* distortion) const {
  const std::uint64_t regions = rows_ * cols_ / group;
  const std::uint64_t step = std::max<std::uint64_t>(1, kRunBytes / (group * dtype_bytes(dtype_)));
  std::vector<cpu::PreparedScale> prepared;
  for (std::uint64_t begin = 0; begin < regions; begin += step) {
    const std::uint64_t end = std::min(begin + step, regions);
    prepared.clear();
    for (std::uint64_t region = begin; region < end; ++region) {
      const auto amax = to_magnitude(dtype_, amax_bits(region * group, group));
      if (!amax) return false;
      prepared.push_back(prepare(*amax));
      scales[region] = prepared.back().scale;
    }
    encode_run(begin * group, (end - begin) * group, prepared.data(), group, &codes[begin * group], distortion);
  }
  return true;
}

bool PieceEncoder::encode_at(float scale, std::span<std::uint8_t> codes, Distortion* distortion) const {
  cpu::PreparedScale prepared = cpu::prepare_scale(encoding_.format, scale);
  const double most = static_cast<double>(fp8::max_value(encoding_.format)) * static_cast<double>(scale);
  const std::uint64_t count = rows_ * cols_, step = kRunBytes / dtype_bytes(dtype_);
  bool finite = true;
  for (std::uint64_t at = 0; at < count; at += step) {
    const std::uint64_t n = std::min(step, count - at);
    const auto amax = to_magnitude(dtype_, amax_bits(at, n));
    finite = finite && amax;
    prepared.fits = amax && static_cast<double>(*amax) <= most;
    encode_run(at, n, &prepared, n, &codes[at], distortion);
  }
  return finite;
}

void PieceEncoder::encode_run(std::uint64_t at, std::uint64_t count, const cpu::PreparedScale* scales,
                              std::uint64_t group, std::uint8_t* codes, Distortion* distortion) const {
  const auto format = static_cast<std::size_t>(encoding_.format);
  const auto n = static_cast<std::size_t>(count), g = static_cast<std::size_t>(group);
  const auto* words = reinterpret_cast<const std::uint16_t*>(data_) + at;
  switch (dtype_) {
    case DType::kF32: {
      const auto* floats = reinterpret_cast<const float*>(data_) + at;
      kernels_.encode_groups_f32[format](floats, codes, n, scales, g, distortion);
      break;
    }
    case DType::kF16: kernels_.encode_groups_f16[format](words, codes, n, scales, g, distortion); break;
    default: kernels_.encode_groups_bf16[format](words, codes, n, scales, g, distortion); break;
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
