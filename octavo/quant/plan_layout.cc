// Offsets, headers and the index of a plan.
#include "octavo/quant/plan_layout.h"

#include <algorithm>
#include <numeric>

#include "octavo/base/text.h"

namespace octavo::quant {
namespace {

// The outputs of a shard in the order of its file.
std::vector<std::uint32_t> file_order(const Plan& plan, const PlannedShard& shard) {
  std::vector<std::uint32_t> order(shard.count);
  std::iota(order.begin(), order.end(), shard.first);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return precedes(plan.outputs[a].dtype, plan.outputs[a].name, plan.outputs[b].dtype, plan.outputs[b].name);
  });
  return order;
}

// `base` is the file offset of the data buffer.
EntryAt entries(const Plan& plan, const std::vector<std::uint32_t>& order, std::uint64_t base) {
  return [&plan, &order, base](std::size_t i) {
    const OutputTensor& out = plan.outputs[order[i]];
    const std::uint64_t begin = out.offset - base;
    return EntryView{out.name, out.dtype, out.shape, begin, begin + out.bytes};
  };
}

}  // namespace

Status lay_out_shard(Plan& plan, PlannedShard& shard) {
  const auto order = file_order(plan, shard);
  std::uint64_t at = 0;
  for (const std::uint32_t i : order) {
    OutputTensor& out = plan.outputs[i];
    const auto bytes = byte_count(out.dtype, out.shape);
    std::uint64_t end = 0;
    if (!bytes || __builtin_add_overflow(at, *bytes, &end)) {
      return failure("tensor \"{}\": {} {} is too large", printable(out.name), dtype_name(out.dtype),
                     shape_string(out.shape));
    }
    out.bytes = *bytes;
    out.offset = std::exchange(at, end);
  }
  OCTAVO_ASSIGN(shard.header_bytes, safetensors_prefix_bytes(shard.metadata, order.size(), entries(plan, order, 0)));
  for (const std::uint32_t i : order) plan.outputs[i].offset += shard.header_bytes;
  shard.bytes = shard.header_bytes + at;
  return {};
}

Status write_shard_header(const Plan& plan, std::size_t shard, const TextSink& sink) {
  const PlannedShard& planned = plan.shards[shard];
  const auto order = file_order(plan, planned);
  return write_safetensors_prefix(planned.metadata, order.size(), entries(plan, order, planned.header_bytes), sink);
}

std::string shard_header(const Plan& plan, std::size_t shard) {
  std::string text;
  text.reserve(plan.shards[shard].header_bytes);
  // lay_out_shard() has made it once, so it cannot fail.
  (void)write_shard_header(plan, shard, [&text](std::string_view part) -> Status {
    text += part;
    return {};
  });
  return text;
}

Status write_index_text(const Plan& plan, const TextSink& sink) {
  std::vector<std::uint32_t> order(plan.outputs.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return plan.outputs[a].name < plan.outputs[b].name; });
  const IndexEntryAt entry = [&](std::size_t i) {
    const OutputTensor& out = plan.outputs[order[i]];
    return std::pair<std::string_view, std::string_view>(out.name, plan.shards[out.shard].name);
  };
  return write_shard_index(plan.output_bytes, order.size(), entry, sink);
}

std::string index_text(const Plan& plan) {
  std::string text;
  (void)write_index_text(plan, [&text](std::string_view part) -> Status {
    text += part;
    return {};
  });
  return text;
}

}  // namespace octavo::quant
