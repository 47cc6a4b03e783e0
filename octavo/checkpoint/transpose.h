// Matrices that lie transposed in a file, as row-major values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "octavo/base/file.h"

namespace octavo {

// A matrix whose element (r, c) lies at offset + (c * pitch + r) * width bytes; pitch and places in elements.
struct TransposedMatrix {
  std::uint64_t offset = 0;
  std::uint64_t pitch = 0;
  std::uint64_t width = 1;  // bytes of an element: 1, 2, 4 or 8
};

struct Rectangle {
  std::uint64_t row_begin = 0, row_end = 0;
  std::uint64_t col_begin = 0, col_end = 0;
};

// Fills `out` with the rectangle, row by row and contiguous. Every byte of it is read once, in stretches of a column
// (so a rectangle should have many rows), and 256 KiB of memory are used besides. Any thread.
Status read_transposed(const ByteSource& file, const TransposedMatrix& matrix, const Rectangle& rectangle,
                       std::span<std::byte> out);

// What read_transposed() takes besides `out`.
inline constexpr std::uint64_t kTransposeBytes = 264ull << 10;

}  // namespace octavo
