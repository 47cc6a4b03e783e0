// Cuts a plan into pieces of bounded size. A pure function of shapes, so that what is read, in which order and how
// much of it at once can be tested without a byte of data.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/checkpoint/checkpoint.h"
#include "octavo/quant/plan.h"

namespace octavo::quant {

enum class Pass : std::uint8_t {
  kCopy,          // bytes [row_begin, row_end) of a kept tensor, whole elements, as they are
  kEncode,        // whole scale regions: read once, find the scale, encode
  kAmax,          // a part of one scale region: only its largest magnitude
  kEncodeShared,  // the same part again, once its region's scale is known
};

// A rectangle of a weight [n, k].
struct Extent {
  std::uint64_t row_begin = 0, row_end = 0;
  std::uint64_t col_begin = 0, col_end = 0;
};

// Cuts an extent into parts of at most `elements`, each whole rows of it or a stretch of one row.
std::vector<Extent> cut_extent(const Extent& extent, std::uint64_t elements);

// A piece of one tensor: rows and columns of the weight [n, k].
struct Piece {
  Pass pass = Pass::kCopy;
  std::uint32_t tensor = 0;  // index into Plan::tensors
  std::uint32_t region = 0;  // kAmax, kEncodeShared: index of the region whose scale it takes part in
  std::uint64_t row_begin = 0, row_end = 0;
  std::uint64_t col_begin = 0, col_end = 0;
};

struct Schedule {
  // To be claimed in this order. Every kAmax piece of a region stands before its kEncodeShared pieces, so a worker
  // that waits for a region waits only for pieces already claimed.
  std::vector<Piece> pieces;
  std::vector<std::uint32_t> region_parts;  // per region: its kAmax pieces
};

// No piece holds more than `piece_bytes` of the source, unless a single element is larger than that.
Schedule make_schedule(const Checkpoint& checkpoint, const Plan& plan, std::uint64_t piece_bytes);

}  // namespace octavo::quant
