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

// Every value is looked at twice: first for its region's scale, then for its code. Encoding a stretch looks at the next
// one meanwhile, so that fetching from memory and computing overlap, and the second look finds the stretch in a near
// cache. In bytes of source:
constexpr std::uint64_t kRunBytes = 32 << 10;  // of what is contiguous: within a first-level cache
// Of a row of regions. Where another follows, it is taken whole if a last-level cache holds it: reading memory in one
// run is worth more than a nearer cache. Otherwise in stretches of which a second-level cache holds several.
constexpr std::uint64_t kBandBytes = 8 << 20, kStretchBytes = 512 << 10;
// Memory is asked for that far ahead of where values are looked at and codes written; measured (docs/benchmarks.md).
// In a stretch of a row of regions, whose rows are apart, a row ahead.
constexpr std::size_t kAheadIn = 1024, kAheadOut = 512, kAheadInBand = 2048, kAheadOutBand = 1024;

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
  if (encoding_.bf16_arithmetic) return scale_bf16(amax);
  return fp8::scale_from_amax(amax, encoding_.format, encoding_.scale_dtype, encoding_.pow2_scales);
}

cpu::PreparedScale PieceEncoder::prepare(float amax) const {
  cpu::PreparedScale prepared = cpu::prepare_scale(encoding_.format, scale(amax));
  prepared.fits = true;  // a scale rounded to BF16 is at most 2^-8 too small
  return prepared;
}

struct PieceEncoder::Scratch {
  std::vector<std::uint16_t> largest16;  // of the stretch that is looked at, cpu::kMaxLanes for each of its regions
  std::vector<std::uint32_t> largest32;
  std::vector<cpu::PreparedScale> scales;  // of the stretch that is encoded
  std::size_t scales_found = 0;
};
struct PieceEncoder::Next {
  std::uint64_t at;  // first element; as many as are encoded
  std::uint16_t* largest16;
  std::uint32_t* largest32;
  std::size_t ahead_in, ahead_out;
};

void PieceEncoder::look(const Stretch& stretch, std::uint64_t row, std::uint64_t col, std::uint64_t group,
                        Scratch& scratch) const {
  if (col >= stretch.cols) return;
  const std::uint64_t at = stretch.begin + row * cols_ + col, n = stretch.cols - col,
                      lanes = col / group * cpu::kMaxLanes;
  if (dtype_ == DType::kF32) {
    kernels_.max_groups32(reinterpret_cast<const float*>(data_) + at, n, group, &scratch.largest32[lanes]);
  } else {
    kernels_.max_groups16(reinterpret_cast<const std::uint16_t*>(data_) + at, n, group, &scratch.largest16[lanes]);
  }
}

bool PieceEncoder::find_scales(const Stretch& stretch, std::uint64_t group, std::span<float> scales,
                               Scratch& scratch) const {
  scratch.scales.clear();
  for (std::uint64_t c = 0, lanes = 0; c < stretch.cols; c += group, lanes += cpu::kMaxLanes) {
    std::uint32_t bits = 0;
    if (dtype_ == DType::kF32) {
      bits = *std::max_element(&scratch.largest32[lanes], &scratch.largest32[lanes] + cpu::kMaxLanes);
    } else {
      bits = kernels_.amax_bits16(&scratch.largest16[lanes], cpu::kMaxLanes);
    }
    const auto amax = to_magnitude(dtype_, bits);
    if (!amax) return false;
    scratch.scales.push_back(prepare(*amax));
    scales[scratch.scales_found++] = scratch.scales.back().scale;
  }
  const std::size_t lanes = scratch.scales.size() * cpu::kMaxLanes;
  if (dtype_ == DType::kF32) {
    std::fill_n(scratch.largest32.begin(), lanes, 0);
  } else {
    std::fill_n(scratch.largest16.begin(), lanes, 0);
  }
  return true;
}

void PieceEncoder::encode_stretch(const Stretch& stretch, const Stretch& next, std::uint64_t group,
                                  std::span<std::uint8_t> codes, Scratch& scratch, Distortion* distortion) const {
  // As long as both have rows, as wide as both are in whole regions, or exactly: at once.
  const std::uint64_t both = stretch.cols == next.cols ? next.cols : std::min(stretch.cols, next.cols) / group * group;
  const auto ahead = [&](std::size_t run, std::size_t band, std::size_t row) {
    return stretch.rows == 1 ? run : stretch.cols == cols_ ? band : row;
  };
  for (std::uint64_t r = 0; r < stretch.rows; ++r) {
    const std::uint64_t at = stretch.begin + r * cols_, n = r < next.rows ? both : 0;
    if (n > 0) {
      const Next meanwhile{next.begin + r * cols_, scratch.largest16.data(), scratch.largest32.data(),
                           ahead(kAheadIn, kAheadInBand, cols_ * dtype_bytes(dtype_)),
                           ahead(kAheadOut, kAheadOutBand, cols_)};
      encode_run(at, n, scratch.scales.data(), group, &codes[at], distortion, &meanwhile);
    }
    if (n < stretch.cols) {
      encode_run(at + n, stretch.cols - n, &scratch.scales[n / group], group, &codes[at + n], distortion, nullptr);
    }
  }
  for (std::uint64_t r = 0; r < next.rows; ++r) look(next, r, r < stretch.rows ? both : 0, group, scratch);
}

bool PieceEncoder::encode(std::span<std::uint8_t> codes, std::span<float> scales, Distortion* distortion) const {
  if (rows_ == 0 || cols_ == 0) return true;
  if (encoding_.bf16_arithmetic) return encode_bf16(codes, scales, distortion);
  const std::uint64_t block_n = std::min(encoding_.block_n, rows_), group = std::min(encoding_.block_k, cols_);
  const bool contiguous = block_n == 1 && cols_ % group == 0;
  const std::uint64_t rows = contiguous ? 1 : rows_, cols = contiguous ? rows_ * cols_ : cols_;
  // The first row of regions is looked at with nothing to overlap: that is worth it where several more follow, or where
  // a second-level cache holds it.
  const std::uint64_t band = block_n * cols_ * dtype_bytes(dtype_);
  const bool whole = !contiguous && rows_ > block_n && band <= (rows_ >= 4 * block_n ? kBandBytes : kBandBytes / 4);
  const std::uint64_t bytes = contiguous ? kRunBytes : whole ? kBandBytes : kStretchBytes;
  const std::uint64_t regions = std::max<std::uint64_t>(1, bytes / (block_n * group * dtype_bytes(dtype_)));
  // In parts as equal as can be: where the next is smaller or larger, only what both have is looked at meanwhile.
  const std::uint64_t across = (cols - 1) / group + 1, parts = (across - 1) / regions + 1;
  const std::uint64_t width = ((across - 1) / parts + 1) * group;
  Scratch scratch;
  const std::size_t lanes = width / group * cpu::kMaxLanes;
  dtype_ == DType::kF32 ? scratch.largest32.assign(lanes, 0) : scratch.largest16.assign(lanes, 0);
  const auto stretch_at = [&](std::uint64_t r, std::uint64_t c) {
    return Stretch{r * cols + c, std::min(block_n, rows - r), std::min(width, cols - c)};
  };
  Stretch next = stretch_at(0, 0);
  for (std::uint64_t r = 0; r < next.rows; ++r) look(next, r, 0, group, scratch);
  for (std::uint64_t r = 0, c = 0; r < rows;) {
    const Stretch stretch = next;
    c += width;
    if (c >= cols) {
      c = 0;
      r += block_n;
    }
    next = r < rows ? stretch_at(r, c) : Stretch{};
    if (!find_scales(stretch, group, scales, scratch)) return false;
    encode_stretch(stretch, next, group, codes, scratch, distortion);
  }
  return true;
}

bool PieceEncoder::encode_at(float scale, std::span<std::uint8_t> codes, Distortion* distortion) const {
  if (encoding_.bf16_arithmetic) return encode_bf16_at(scale, {0, rows_, cols_}, codes, distortion);
  cpu::PreparedScale prepared = cpu::prepare_scale(encoding_.format, scale);
  const double most = static_cast<double>(fp8::max_value(encoding_.format)) * static_cast<double>(scale);
  const std::uint64_t count = rows_ * cols_, step = kRunBytes / dtype_bytes(dtype_);
  bool finite = true;
  std::array<std::uint16_t, cpu::kMaxLanes> largest16;
  std::array<std::uint32_t, cpu::kMaxLanes> largest32;
  std::uint32_t bits = amax_bits(0, std::min(step, count));
  for (std::uint64_t at = 0; at < count; at += step) {
    const auto amax = to_magnitude(dtype_, bits);
    finite = finite && amax;
    prepared.fits = amax && static_cast<double>(*amax) <= most;
    if (at + 2 * step <= count) {
      largest16.fill(0);
      largest32.fill(0);
      const Next next{at + step, largest16.data(), largest32.data(), kAheadIn, kAheadOut};
      encode_run(at, step, &prepared, step, &codes[at], distortion, &next);
      bits = dtype_ == DType::kF32 ? *std::max_element(largest32.begin(), largest32.end())
                                   : kernels_.amax_bits16(largest16.data(), largest16.size());
    } else {
      const std::uint64_t n = std::min(step, count - at);
      encode_run(at, n, &prepared, n, &codes[at], distortion, nullptr);
      if (at + n < count) bits = amax_bits(at + n, count - at - n);
    }
  }
  return finite;
}

void PieceEncoder::encode_run(std::uint64_t at, std::uint64_t count, const cpu::PreparedScale* scales,
                              std::uint64_t group, std::uint8_t* codes, Distortion* distortion,
                              const Next* next) const {
  const auto format = static_cast<std::size_t>(encoding_.format);
  const auto n = static_cast<std::size_t>(count), g = static_cast<std::size_t>(group);
  const auto* words = reinterpret_cast<const std::uint16_t*>(data_);
  if (dtype_ == DType::kF32) {
    const auto* floats = reinterpret_cast<const float*>(data_);
    cpu::Meanwhile32 meanwhile;
    if (next != nullptr) meanwhile = {floats + next->at, next->largest32, next->ahead_in, next->ahead_out};
    kernels_.encode_groups_f32[format](floats + at, codes, n, scales, g, distortion, next ? &meanwhile : nullptr);
    return;
  }
  cpu::Meanwhile16 meanwhile;
  if (next != nullptr) meanwhile = {words + next->at, next->largest16, next->ahead_in, next->ahead_out};
  const auto& kernels = dtype_ == DType::kF16 ? kernels_.encode_groups_f16 : kernels_.encode_groups_bf16;
  kernels[format](words + at, codes, n, scales, g, distortion, next ? &meanwhile : nullptr);
}

void store_scales(std::span<const float> scales, fp8::ScaleDType dtype, std::vector<std::byte>& out) {
  if (dtype == fp8::ScaleDType::kF32) {
    out.resize(scales.size() * 4);
    std::memcpy(out.data(), scales.data(), out.size());
    return;
  }
  if (dtype == fp8::ScaleDType::kE8M0) {
    out.resize(scales.size());
    std::transform(scales.begin(), scales.end(), out.begin(),
                   [](float scale) { return std::byte{fp8::e8m0_encode_up(scale)}; });
    return;
  }
  out.resize(scales.size() * 2);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const std::uint16_t bits = fp8::float_to_bf16(scales[i]);
    std::memcpy(out.data() + 2 * i, &bits, 2);
  }
}

}  // namespace octavo::quant
