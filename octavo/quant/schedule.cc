// Cutting: whole scale regions where they fit, parts of one region in two passes where they do not.
#include "octavo/quant/schedule.h"

#include <algorithm>

#include "octavo/base/ceil_div.h"

namespace octavo::quant {
namespace {

class Scheduler {
 public:
  Scheduler(const Checkpoint& checkpoint, const Plan& plan, std::uint64_t bytes, std::uint64_t largest)
      : checkpoint_(checkpoint), plan_(plan), bytes_(std::max<std::uint64_t>(bytes, 1)), largest_(largest) {}

  Schedule run() {
    std::vector<std::vector<std::uint32_t>> sharers(plan_.shared_scales);
    for (std::uint32_t i = 0; i < plan_.tensors.size(); ++i) {
      if (plan_.tensors[i].shared) sharers[*plan_.tensors[i].shared].push_back(i);
    }
    for (std::uint32_t i = 0; i < plan_.tensors.size(); ++i) {
      const PlannedTensor& planned = plan_.tensors[i];
      if (planned.action == Action::kDrop) continue;
      if (planned.action == Action::kScale) {
        out_.units.push_back({Pass::kScales, i, 0, {0, 1, 0, 1}});
      } else if (planned.action == Action::kDecode) {
        for (const Extent& part : cut_extent(all(i), elements(i, bytes_of(i)), transposed(i))) {
          out_.units.push_back({Pass::kDecode, i, 0, part});
        }
      } else if (!planned.encodes()) {
        copy(i);
        if (planned.scale) scales(i);
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
  std::uint64_t elements(std::uint32_t tensor, std::uint64_t bytes) const {
    return std::max<std::uint64_t>(1, bytes / dtype_bytes(value_dtype(checkpoint_, plan_, plan_.tensors[tensor])));
  }
  bool transposed(std::uint32_t tensor) const { return source(tensor).pitch != 0; }
  std::uint64_t bytes_of(std::uint32_t tensor) const {
    return worthwhile_bytes(source(tensor), bytes_, std::max(bytes_, largest_));
  }
  Extent all(std::uint32_t tensor) const { return {0, source(tensor).shape[0], 0, source(tensor).shape[1]}; }

  void copy(std::uint32_t tensor) {
    const std::uint64_t bytes = source(tensor).bytes;
    // Whole elements, for sinks that keep more than bytes. (Types below a byte have no such boundary.)
    const std::uint64_t element = std::max(dtype_bytes(source(tensor).dtype), 1u);
    const std::uint64_t step = whole_rows(source(tensor), std::max(bytes_of(tensor) / element * element, element));
    for (std::uint64_t at = 0; at < bytes; at += step) {
      out_.units.push_back({Pass::kCopy, tensor, 0, {at, std::min(at + step, bytes), 0, 1}});
    }
  }

  // The scale grid of a weight whose codes stay.
  void scales(std::uint32_t tensor) {
    const PlannedTensor& planned = plan_.tensors[tensor];
    const Shape& shape = source(tensor).shape;
    const Extent grid{0, ceil_div(shape[0], planned.encoding->block_n), 0,
                      ceil_div(shape[1], planned.encoding->block_k)};
    for (const Extent& part : cut_extent(grid, std::max<std::uint64_t>(1, bytes_ / sizeof(float)))) {
      out_.units.push_back({Pass::kScales, tensor, 0, part});
    }
  }

  // One region, made of parts of one or more tensors: first all amax units, then all encode units.
  void region(const std::vector<std::pair<std::uint32_t, Extent>>& members) {
    for (const Pass pass : {Pass::kAmax, Pass::kEncodeShared}) {
      for (const auto& [tensor, extent] : members) {
        for (const Extent& part : cut_extent(extent, elements(tensor, bytes_of(tensor)), transposed(tensor))) {
          out_.units.push_back({pass, tensor, out_.regions, part});
        }
      }
    }
    ++out_.regions;
  }

  void shared_tensors(const std::vector<std::uint32_t>& tensors) {
    std::vector<std::pair<std::uint32_t, Extent>> members;
    for (const std::uint32_t tensor : tensors) members.emplace_back(tensor, all(tensor));
    region(members);
  }

  void regions(std::uint32_t tensor) {
    const WeightEncoding& e = *plan_.tensors[tensor].encoding;
    const std::uint64_t limit = elements(tensor, std::max(bytes_, largest_));
    for (const Extent& part :
         cut_regions(all(tensor), e.block_n, e.block_k, elements(tensor, bytes_of(tensor)), limit)) {
      if (part.rows() > limit / part.cols()) {
        region({{tensor, part}});
      } else {
        out_.units.push_back({Pass::kEncode, tensor, 0, part});
      }
    }
  }

  const Checkpoint& checkpoint_;
  const Plan& plan_;
  const std::uint64_t bytes_, largest_;
  Schedule out_;
};

}  // namespace

std::uint64_t worthwhile_bytes(const CheckpointTensor& tensor, std::uint64_t bytes, std::uint64_t limit) {
  constexpr std::uint64_t kStretch = 2048;  // bytes: copying them takes about as long as asking for them
  if (tensor.pitch == 0) return bytes;
  return std::min(std::max(bytes, tensor.shape.back() * kStretch), limit);
}

std::uint64_t whole_rows(const CheckpointTensor& tensor, std::uint64_t bytes) {
  if (tensor.pitch == 0) return bytes;
  const std::uint64_t row = tensor.shape.back() * dtype_bytes(tensor.dtype);
  return row > bytes ? bytes : bytes / row * row;
}

std::vector<Extent> cut_extent(const Extent& e, std::uint64_t elements, bool tiles) {
  std::vector<Extent> parts;
  const std::uint64_t width = e.cols();
  if (width <= elements) {
    const std::uint64_t rows = std::max<std::uint64_t>(1, elements / std::max<std::uint64_t>(width, 1));
    for (std::uint64_t r = e.row_begin; r < e.row_end; r += rows) {
      parts.push_back({r, std::min(r + rows, e.row_end), e.col_begin, e.col_end});
    }
    return parts;
  }
  const std::uint64_t rows = tiles ? std::min<std::uint64_t>({64, e.rows(), elements}) : 1, cols = elements / rows;
  for (std::uint64_t r = e.row_begin; r < e.row_end; r += rows) {
    for (std::uint64_t c = e.col_begin; c < e.col_end; c += cols) {
      parts.push_back({r, std::min(r + rows, e.row_end), c, std::min(c + cols, e.col_end)});
    }
  }
  return parts;
}

std::vector<Extent> cut_regions(const Extent& e, std::uint64_t block_n, std::uint64_t block_k, std::uint64_t target,
                                std::uint64_t limit) {
  std::vector<Extent> parts;
  if (e.rows() == 0 || e.cols() == 0) return parts;
  block_n = std::min(block_n, e.rows());
  block_k = std::min(block_k, e.cols());
  // Compare by division: the products may overflow.
  if (block_n <= limit / e.cols()) {
    const std::uint64_t rows = std::max(block_n, target / e.cols() / block_n * block_n);
    for (std::uint64_t r = e.row_begin; r < e.row_end; r += rows) {
      parts.push_back({r, std::min(r + rows, e.row_end), e.col_begin, e.col_end});
    }
    return parts;
  }
  const std::uint64_t cols = std::max(block_k, target / block_n / block_k * block_k);
  for (std::uint64_t r = e.row_begin; r < e.row_end; r += block_n) {
    for (std::uint64_t c = e.col_begin; c < e.col_end; c += cols) {
      parts.push_back({r, std::min(r + block_n, e.row_end), c, std::min(c + cols, e.col_end)});
    }
  }
  return parts;
}

std::uint64_t unit_bytes(std::uint64_t source_bytes) {
  return std::clamp<std::uint64_t>(source_bytes / 1024, 64ull << 10, kLargestUnit);
}

Schedule make_schedule(const Checkpoint& checkpoint, const Plan& plan, std::uint64_t bytes, std::uint64_t largest) {
  return Scheduler(checkpoint, plan, bytes, largest).run();
}

}  // namespace octavo::quant
