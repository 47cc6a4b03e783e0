// A range of bytes of a row-major matrix as rectangles: what a TensorSink is given, in the terms of Backend::pack.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "octavo/backend/backend.h"

namespace octavo::quant {

struct RangePart {
  backend::Rectangle rectangle;        // of the matrix
  std::uint64_t begin = 0, bytes = 0;  // its bytes, counted from the range's first; row-major and contiguous
};

class RangeParts {
 public:
  const RangePart* begin() const { return parts_.data(); }
  const RangePart* end() const { return parts_.data() + size_; }
  std::size_t size() const { return size_; }
  const RangePart& operator[](std::size_t i) const { return parts_[i]; }

 private:
  friend RangeParts cut_range(std::uint64_t, unsigned, std::uint64_t, std::uint64_t);
  std::array<RangePart, 3> parts_;
  std::size_t size_ = 0;
};

// Bytes [offset, offset + bytes) of a matrix of `cols` columns whose elements have `element_bytes`: the end of a row,
// whole rows, the beginning of a row, in this order, each only where the range has it. The range must lie in the matrix
// and begin and end between elements. A vector is one row; a scalar has one column.
inline RangeParts cut_range(std::uint64_t cols, unsigned element_bytes, std::uint64_t offset, std::uint64_t bytes) {
  RangeParts out;
  const std::uint64_t first = offset / element_bytes, end = first + bytes / element_bytes;
  for (std::uint64_t at = first; at < end;) {
    const std::uint64_t row = at / cols, col = at % cols, left = end - at;
    const std::uint64_t rows = col == 0 && left >= cols ? left / cols : 1;
    const std::uint64_t col_end = std::min(cols, col + left);
    const std::uint64_t count = rows * (col_end - col);
    out.parts_[out.size_++] = {{row, row + rows, col, col_end}, (at - first) * element_bytes, count * element_bytes};
    at += count;
  }
  return out;
}

}  // namespace octavo::quant
