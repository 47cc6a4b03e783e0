// Stretches of 64 columns at a time into a buffer that the second-level cache holds, from there in squares to the rows.
#include "octavo/checkpoint/transpose.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "octavo/base/text.h"

namespace octavo {
namespace {

constexpr std::uint64_t kColumns = 64;    // of a buffer: 64 values of 16 bits are two cache lines of a row
constexpr std::uint64_t kStretch = 4096;  // bytes of a column that are read at once
// Between stretches, so that those of one row of values do not all fall into the same cache set.
constexpr std::uint64_t kApart = 64;
static_assert(kColumns * (kStretch + kApart) <= kTransposeBytes);

// Vectors of 16 bytes as compilers have them for every machine, and two of them interleaved from the front and the
// back.
template <std::size_t kWidth>
struct Lanes;
template <>
struct Lanes<1> {
  using Vector = std::uint8_t __attribute__((vector_size(16)));
  static Vector low(Vector a, Vector b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  static Vector high(Vector a, Vector b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
};
template <>
struct Lanes<2> {
  using Vector = std::uint16_t __attribute__((vector_size(16)));
  static Vector low(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
  static Vector high(Vector a, Vector b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
};
template <>
struct Lanes<4> {
  using Vector = std::uint32_t __attribute__((vector_size(16)));
  static Vector low(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
  static Vector high(Vector a, Vector b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
};
template <>
struct Lanes<8> {
  using Vector = std::uint64_t __attribute__((vector_size(16)));
  static Vector low(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 2); }
  static Vector high(Vector a, Vector b) { return __builtin_shufflevector(a, b, 1, 3); }
};

// out[r][c] = in[c][r] of a square of 16 bytes by 16 / kWidth: log2 of that many perfect shuffles of all its elements.
template <std::size_t kWidth>
void transpose_square(const std::byte* in, std::uint64_t in_stride, std::byte* out, std::uint64_t out_stride) {
  constexpr std::size_t kSide = 16 / kWidth;
  using L = Lanes<kWidth>;
  typename L::Vector v[kSide], w[kSide];
  for (std::size_t i = 0; i < kSide; ++i) std::memcpy(&v[i], in + i * in_stride, 16);
  for (std::size_t pass = 1; pass < kSide; pass *= 2) {
    for (std::size_t i = 0; i < kSide / 2; ++i) {
      w[2 * i] = L::low(v[i], v[i + kSide / 2]);
      w[2 * i + 1] = L::high(v[i], v[i + kSide / 2]);
    }
    for (std::size_t i = 0; i < kSide; ++i) v[i] = w[i];
  }
  for (std::size_t i = 0; i < kSide; ++i) std::memcpy(out + i * out_stride, &v[i], 16);
}

// The same of any rectangle; strides in bytes.
template <std::size_t kWidth>
void transpose(const std::byte* in, std::uint64_t in_stride, std::byte* out, std::uint64_t out_stride,
               std::uint64_t rows, std::uint64_t cols) {
  constexpr std::uint64_t kSide = 16 / kWidth;
  const std::uint64_t whole_rows = rows / kSide * kSide, whole_cols = cols / kSide * kSide;
  for (std::uint64_t r = 0; r < whole_rows; r += kSide) {
    for (std::uint64_t c = 0; c < whole_cols; c += kSide) {
      transpose_square<kWidth>(in + c * in_stride + r * kWidth, in_stride, out + r * out_stride + c * kWidth,
                               out_stride);
    }
  }
  for (std::uint64_t r = 0; r < rows; ++r) {
    for (std::uint64_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c) {
      std::memcpy(out + r * out_stride + c * kWidth, in + c * in_stride + r * kWidth, kWidth);
    }
  }
}

void transpose(std::uint64_t width, const std::byte* in, std::uint64_t in_stride, std::byte* out,
               std::uint64_t out_stride, std::uint64_t rows, std::uint64_t cols) {
  switch (width) {
    case 1: return transpose<1>(in, in_stride, out, out_stride, rows, cols);
    case 2: return transpose<2>(in, in_stride, out, out_stride, rows, cols);
    case 4: return transpose<4>(in, in_stride, out, out_stride, rows, cols);
    default: return transpose<8>(in, in_stride, out, out_stride, rows, cols);
  }
}

}  // namespace

Status read_transposed(const ByteSource& file, const TransposedMatrix& m, const Rectangle& rect,
                       std::span<std::byte> out) {
  const std::uint64_t cols = rect.col_end - rect.col_begin, step = std::max<std::uint64_t>(1, kStretch / m.width);
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kTransposeBytes);
  for (std::uint64_t c = rect.col_begin; c < rect.col_end; c += kColumns) {
    const std::uint64_t width = std::min(kColumns, rect.col_end - c);
    for (std::uint64_t r = rect.row_begin; r < rect.row_end; r += step) {
      const std::uint64_t height = std::min(step, rect.row_end - r), bytes = height * m.width;
      const std::uint64_t at = m.offset + (c * m.pitch + r) * m.width;
      std::uint64_t stride = bytes + kApart;
      if (height == m.pitch) {  // the columns lie side by side
        stride = bytes;
        OCTAVO_TRY(file.read_at(at, {buffer.get(), width * bytes}));
      } else {
        for (std::uint64_t i = 0; i < width; ++i) {
          OCTAVO_TRY(file.read_at(at + i * m.pitch * m.width, {buffer.get() + i * stride, bytes}));
        }
      }
      std::byte* const to = out.data() + ((r - rect.row_begin) * cols + (c - rect.col_begin)) * m.width;
      transpose(m.width, buffer.get(), stride, to, cols * m.width, height, width);
    }
  }
  return {};
}

}  // namespace octavo
