// Cuts a plan into units, the granules of the journal, and units into parts that fit memory. Pure functions of shapes,
// so that what is read, in which order and how much of it at once can be tested without a byte of data.
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
  kDecode,        // a part of an FP8 weight, to values
  kScales,        // rows and columns of an output's scale grid, from scales of the source
};

// A rectangle of a weight [n, k].
struct Extent {
  std::uint64_t row_begin = 0, row_end = 0;
  std::uint64_t col_begin = 0, col_end = 0;

  std::uint64_t rows() const { return row_end - row_begin; }
  std::uint64_t cols() const { return col_end - col_begin; }
  std::uint64_t count() const { return rows() * cols(); }
};

// Cuts an extent into parts of at most `elements`, each whole rows of it or a stretch of one row; with `tiles`, a
// stretch of up to 64 rows instead, for sources whose columns lie together.
std::vector<Extent> cut_extent(const Extent& extent, std::uint64_t elements, bool tiles = false);

// Cuts an extent that begins at the corner of a region of block_n x block_k into parts of whole regions: about `target`
// elements each where whole rows of regions allow it, at most `limit`. A region larger than `limit` is a part by
// itself.
std::vector<Extent> cut_regions(const Extent& extent, std::uint64_t block_n, std::uint64_t block_k,
                                std::uint64_t target, std::uint64_t limit);

// Bytes of a part or unit of `tensor` where others have `bytes`: of one that lies transposed as many more, up to
// `limit`, as make its columns' stretches worth a read each.
std::uint64_t worthwhile_bytes(const CheckpointTensor& tensor, std::uint64_t bytes, std::uint64_t limit);
// A step of about `bytes` through the bytes of `tensor`: of one that lies transposed, whole rows where they are
// shorter.
std::uint64_t whole_rows(const CheckpointTensor& tensor, std::uint64_t bytes);

// A stretch of one tensor: one worker's work, one record of the journal.
struct Unit {
  Pass pass = Pass::kCopy;
  std::uint32_t tensor = 0;  // index into Plan::tensors
  std::uint32_t region = 0;  // kAmax, kEncodeShared: the region whose scale it takes part in
  Extent extent;             // rows and columns of the weight; kCopy: bytes as rows; kScales: of the scale grid
};

struct Schedule {
  // To be claimed in this order. Every kAmax unit of a region stands before its kEncodeShared units, so a worker that
  // waits for a region waits only for units already claimed. The two have the same extents in the same order.
  std::vector<Unit> units;
  std::uint32_t regions = 0;  // that are larger than a unit
};

// Bytes of a unit for a source of `source_bytes`: small against the whole, so that a killed run loses little of it.
std::uint64_t unit_bytes(std::uint64_t source_bytes);
// A row of blocks may hold this much and still be one unit: 128 rows of 65,536 BF16 values.
inline constexpr std::uint64_t kLargestUnit = 16ull << 20;
// Depends on the plan alone. Units hold about `bytes` of the source, and up to `largest` where a row of regions does.
Schedule make_schedule(const Checkpoint& checkpoint, const Plan& plan, std::uint64_t bytes,
                       std::uint64_t largest = kLargestUnit);
inline Schedule make_schedule(const Checkpoint& checkpoint, const Plan& plan) {
  return make_schedule(checkpoint, plan, unit_bytes(plan.source_bytes));
}

}  // namespace octavo::quant
