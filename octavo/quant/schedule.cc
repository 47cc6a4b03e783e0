// Cutting: whole scale regions where they fit the window, parts of one region in two passes where they do not.
#include "octavo/quant/schedule.h"

#include <algorithm>

namespace octavo::quant {
namespace {

class Scheduler {
 public:
  Scheduler(const Checkpoint& checkpoint, const Plan& plan, std::uint64_t piece_bytes)
      : checkpoint_(checkpoint), plan_(plan), piece_bytes_(std::max<std::uint64_t>(piece_bytes, 1)) {}

  Schedule run() {
    std::vector<std::vector<std::uint32_t>> sharers(plan_.shared_scales);
    for (std::uint32_t i = 0; i < plan_.tensors.size(); ++i) {
      if (plan_.tensors[i].shared) sharers[*plan_.tensors[i].shared].push_back(i);
    }
    for (std::uint32_t i = 0; i < plan_.tensors.size(); ++i) {
      const PlannedTensor& planned = plan_.tensors[i];
      if (!planned.quantize) {
        copy(i);
      } else if (planned.shared) {
        // The first of a group brings the others along.
        const auto& group = sharers[*planned.shared];
        if (group.front() == i) shared_tensors(group);
      } else {
        regions(i);
      }
    }
    return std::move(out_);
  }

 private:
  const CheckpointTensor& source(std::uint32_t tensor) const {
    return checkpoint_.tensors()[plan_.tensors[tensor].source];
  }
  std::uint64_t elements_per_piece(std::uint32_t tensor) const {
    return std::max<std::uint64_t>(1, piece_bytes_ / dtype_bytes(source(tensor).dtype));
  }
  void add(Pass pass, std::uint32_t tensor, std::uint32_t region, const Extent& e) {
    out_.pieces.push_back({pass, tensor, region, e.row_begin, e.row_end, e.col_begin, e.col_end});
  }

  void copy(std::uint32_t tensor) {
    const std::uint64_t bytes = source(tensor).bytes;
    // Whole elements, for sinks that keep more than bytes. (Types below a byte have no such boundary.)
    const std::uint64_t element = std::max(dtype_bytes(source(tensor).dtype), 1u);
    const std::uint64_t step = std::max(piece_bytes_ / element * element, element);
    for (std::uint64_t at = 0; at < bytes; at += step) {
      add(Pass::kCopy, tensor, 0, {at, std::min(at + step, bytes), 0, 0});
    }
  }

  // One region made of whole tensors: first all amax pieces, then all encode pieces.
  void shared_tensors(const std::vector<std::uint32_t>& tensors) {
    const auto region = static_cast<std::uint32_t>(out_.region_parts.size());
    out_.region_parts.push_back(0);
    for (const Pass pass : {Pass::kAmax, Pass::kEncodeShared}) {
      for (const std::uint32_t tensor : tensors) {
        const Shape& shape = source(tensor).shape;
        for (const Extent& part : cut_extent({0, shape[0], 0, shape[1]}, elements_per_piece(tensor))) {
          add(pass, tensor, region, part);
          if (pass == Pass::kAmax) ++out_.region_parts[region];
        }
      }
    }
  }

  void regions(std::uint32_t tensor) {
    const WeightEncoding& e = *plan_.tensors[tensor].encoding;
    const Shape& shape = source(tensor).shape;
    const std::uint64_t n = shape[0], k = shape[1];
    const std::uint64_t block_n = std::min(e.block_n, n), block_k = std::min(e.block_k, k);
    const std::uint64_t budget = elements_per_piece(tensor);
    // Compare by division: the products may overflow.
    if (block_n <= budget / k) {
      const std::uint64_t rows = budget / k / block_n * block_n;
      for (std::uint64_t r = 0; r < n; r += rows) add(Pass::kEncode, tensor, 0, {r, std::min(r + rows, n), 0, k});
      return;
    }
    for (std::uint64_t r = 0; r < n; r += block_n) {
      const std::uint64_t row_end = std::min(r + block_n, n);
      if (block_n <= budget / block_k) {
        const std::uint64_t cols = budget / block_n / block_k * block_k;
        for (std::uint64_t c = 0; c < k; c += cols) {
          add(Pass::kEncode, tensor, 0, {r, row_end, c, std::min(c + cols, k)});
        }
        continue;
      }
      for (std::uint64_t c = 0; c < k; c += block_k) {
        const auto region = static_cast<std::uint32_t>(out_.region_parts.size());
        const auto parts = cut_extent({r, row_end, c, std::min(c + block_k, k)}, budget);
        out_.region_parts.push_back(static_cast<std::uint32_t>(parts.size()));
        for (const Extent& part : parts) add(Pass::kAmax, tensor, region, part);
        for (const Extent& part : parts) add(Pass::kEncodeShared, tensor, region, part);
      }
    }
  }

  const Checkpoint& checkpoint_;
  const Plan& plan_;
  const std::uint64_t piece_bytes_;
  Schedule out_;
};

}  // namespace

std::vector<Extent> cut_extent(const Extent& e, std::uint64_t elements) {
  std::vector<Extent> parts;
  const std::uint64_t width = e.col_end - e.col_begin;
  if (width <= elements) {
    const std::uint64_t rows = std::max<std::uint64_t>(1, elements / std::max<std::uint64_t>(width, 1));
    for (std::uint64_t r = e.row_begin; r < e.row_end; r += rows) {
      parts.push_back({r, std::min(r + rows, e.row_end), e.col_begin, e.col_end});
    }
    return parts;
  }
  for (std::uint64_t r = e.row_begin; r < e.row_end; ++r) {
    for (std::uint64_t c = e.col_begin; c < e.col_end; c += elements) {
      parts.push_back({r, r + 1, c, std::min(c + elements, e.col_end)});
    }
  }
  return parts;
}

Schedule make_schedule(const Checkpoint& checkpoint, const Plan& plan, std::uint64_t piece_bytes) {
  return Scheduler(checkpoint, plan, piece_bytes).run();
}

}  // namespace octavo::quant
