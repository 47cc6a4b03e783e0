// The arithmetic of quantization on a piece of a weight in memory: largest magnitudes, scales, codes. The same for
// offline, online and refit. No input, no output, no threads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "octavo/backend/cpu/encode.h"
#include "octavo/base/dtype.h"
#include "octavo/quant/plan.h"

namespace octavo::quant {

// Where a value is not finite, relative to the piece.
struct NonFiniteAt {
  std::uint64_t row = 0, col = 0;
  float value = 0;  // NaN or infinity
};

// What quantization did: x as encoded (F32 after its rounding to BF16). SQNR = 10 log10(signal / noise) dB
// (docs/numerics.md).
using Distortion = cpu::Distortion;

// A piece of a weight in memory, contiguous: [rows, cols] of BF16, F16 or F32 as the source has them. The memory is
// the caller's; zero_nonfinite and rounding to BF16 change it in place.
class PieceEncoder {
 public:
  PieceEncoder(const cpu::EncodeKernels& kernels, const WeightEncoding& encoding, DType dtype)
      : kernels_(kernels), encoding_(encoding), dtype_(dtype) {}

  // Takes the piece, rounding F32 to BF16 where the encoding says so. `data` must be aligned to its element.
  void load(std::span<std::byte> data, std::uint64_t rows, std::uint64_t cols);

  // The largest magnitude of the region of the loaded piece, or nullopt when it holds NaN or infinity.
  std::optional<float> amax(std::uint64_t row_begin, std::uint64_t row_end, std::uint64_t col_begin,
                            std::uint64_t col_end) const;
  // The first value, in row-major order, that is not finite; nullopt when all are.
  std::optional<NonFiniteAt> find_nonfinite() const;
  // Replaces NaN and infinity by zero; returns how many.
  std::uint64_t zero_nonfinite();

  float scale(float amax) const;

  // Finds the scale of every region of the piece (which starts at a region's corner) and encodes all of it:
  // codes [rows, cols], scales [ceil(rows / block_n), ceil(cols / block_k)]. False when the piece holds NaN or
  // infinity, with codes and scales unspecified. What happened to the values is added to `distortion` where there is
  // one; it is unspecified, too, after false.
  [[nodiscard]] bool encode(std::span<std::uint8_t> codes, std::span<float> scales,
                            Distortion* distortion = nullptr) const;
  // Encodes all of the piece at one scale. False when the piece holds NaN or infinity: their codes are NaN and the
  // largest, and `distortion` is unspecified.
  bool encode_at(float scale, std::span<std::uint8_t> codes, Distortion* distortion = nullptr) const;

 private:
  // Bits of the largest magnitude of `count` elements from element `at` on.
  std::uint32_t amax_bits(std::uint64_t at, std::uint64_t count) const;
  cpu::PreparedScale prepare(float amax) const;  // of a region
  // A part of a row of regions, or of several where those are contiguous: whole regions, whose first element is at
  // `begin`, of `rows` rows with `cols` elements each.
  struct Stretch {
    std::uint64_t begin = 0, rows = 0, cols = 0;
  };
  // encode() and encode_at() with BF16 arithmetic: WeightEncoding::bf16_arithmetic.
  float scale_bf16(float amax) const;
  bool encode_bf16(std::span<std::uint8_t> codes, std::span<float> scales, Distortion* distortion) const;
  bool encode_bf16_at(float scale, const Stretch& region, std::span<std::uint8_t> codes, Distortion* distortion) const;
  struct Scratch;  // of encode()
  struct Next;     // what encode_run() looks at meanwhile
  // Looks at columns [col, stretch.cols) of a row; `col` is a region's first.
  void look(const Stretch& stretch, std::uint64_t row, std::uint64_t col, std::uint64_t group, Scratch& scratch) const;
  // The scales of a stretch that was looked at; false when one is not finite.
  bool find_scales(const Stretch& stretch, std::uint64_t group, std::span<float> scales, Scratch& scratch) const;
  // Encodes a stretch whose scales were found, and looks at the next one.
  void encode_stretch(const Stretch& stretch, const Stretch& next, std::uint64_t group, std::span<std::uint8_t> codes,
                      Scratch& scratch, Distortion* distortion) const;
  // Encodes `count` elements from element `at` of the piece on, with a scale for every `group` of them. `next` may be
  // null.
  void encode_run(std::uint64_t at, std::uint64_t count, const cpu::PreparedScale* scales, std::uint64_t group,
                  std::uint8_t* codes, Distortion* distortion, const Next* next) const;

  const cpu::EncodeKernels& kernels_;
  const WeightEncoding& encoding_;
  DType dtype_;  // of what is loaded: BF16 after rounding
  std::byte* data_ = nullptr;
  std::uint64_t rows_ = 0, cols_ = 0;
};

// Scales as they are stored: F32 or BF16, little-endian, or E8M0.
void store_scales(std::span<const float> scales, fp8::ScaleDType dtype, std::vector<std::byte>& out);

}  // namespace octavo::quant
