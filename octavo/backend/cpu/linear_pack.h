// Rows of a weight into the panels that the kernels read (kernels.h: kPanel).
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo::cpu {

// Elements of one size, `size` bytes: 1, 2, or 4. Elements of 4 bytes are not paired.
struct PanelLayout {
  std::uint64_t padded_k = 0;
  unsigned size = 1;
  std::uint64_t panel_bytes() const;
  // Where element (row, k) stands, in bytes; k counts padded elements.
  std::uint64_t at(std::uint64_t row, std::uint64_t k) const;
};

// Elements [k, k + count) of `rows` rows from `row` on, which lie in `in` with `in_stride` bytes from row to row, to
// their places. Writes nothing else, so threads may place neighbours. Whole lines go past the caches: what is placed is
// read when all of the model is, and need not be fetched first to be overwritten. Afterwards the thread must call
// finish_placing() before another one may see what it placed.
void place_in_panels(const PanelLayout& layout, const std::byte* in, std::uint64_t in_stride, std::uint64_t row,
                     std::uint64_t rows, std::uint64_t k, std::uint64_t count, std::byte* panels);

void finish_placing();

// Elements [k, k + count) of `rows` rows from `row` on out of their places, with `out_stride` bytes from row to row.
void take_from_panels(const PanelLayout& layout, const std::byte* panels, std::uint64_t row, std::uint64_t rows,
                      std::uint64_t k, std::uint64_t count, std::byte* out, std::uint64_t out_stride);

}  // namespace octavo::cpu
