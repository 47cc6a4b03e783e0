// The explicit list of what a quantization will do: every output tensor's name, dtype, shape and place, before a byte
// of data is read. Made from the shards' headers and config.json alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/string_pool.h"
#include "octavo/base/text_sink.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/quant/spec.h"

namespace octavo::quant {

struct OutputTensor {
  std::string_view name;  // in Plan::strings
  DType dtype = DType::kF32;
  std::uint32_t shard = 0;   // index into Plan::shards
  std::uint32_t tensor = 0;  // index into Plan::tensors: whose codes, scale or copy it is
  Shape shape;
  std::uint64_t offset = 0;  // from the start of the shard's file
  std::uint64_t bytes = 0;
};

// How one weight [n, k] becomes codes and scales. One scale for each block_n x block_k region; the regions at the
// edges may be smaller. Per tensor: n x k; per channel: 1 x k; per group: 1 x group.
struct WeightEncoding {
  std::uint64_t block_n = 1, block_k = 1;
  Granularity granularity = Granularity::kChannel;
  fp8::Format format = fp8::Format::kE4M3;
  fp8::ScaleDType scale_dtype = fp8::ScaleDType::kF32;
  bool pow2_scales = false;
  bool via_bf16 = false;  // an F32 source is rounded to BF16 first
};

struct PlannedTensor {
  std::uint32_t source = 0;                // index into Checkpoint::tensors()
  std::uint32_t output = 0;                // index into Plan::outputs: the codes, or the copy
  std::optional<std::uint32_t> scale;      // index into Plan::outputs
  std::optional<std::uint32_t> shared;     // per tensor: weights with the same number share one scale
  std::optional<WeightEncoding> encoding;  // when quantize
  std::string_view why;                    // in Plan::strings
  bool quantize = false;
};

struct PlannedShard {
  std::string name;                             // as in the source
  std::map<std::string, std::string> metadata;  // of its header
  std::uint32_t first = 0, count = 0;           // its part of Plan::outputs
  std::uint64_t header_bytes = 0;               // length, JSON, padding: shard_header() makes them
  std::uint64_t bytes = 0;                      // of the whole file
};

struct Plan {
  QuantSpec spec;
  std::vector<PlannedTensor> tensors;  // one per source tensor, same order
  std::vector<OutputTensor> outputs;   // by shard
  std::vector<PlannedShard> shards;
  std::uint32_t shared_scales = 0;  // how many PlannedTensor::shared numbers there are
  std::string config_text;          // the output's config.json
  bool has_index = false;           // the output gets an index, as the source has one: index_text() makes it
  std::vector<std::string> warnings;
  std::vector<std::string> edge_channel;             // modules that --edge channel gave per-channel scales
  std::uint64_t source_bytes = 0, output_bytes = 0;  // of tensors
  std::size_t quantized = 0;
  std::shared_ptr<const StringPool> strings;  // what the views are of; copies of a plan share it
};

Result<Plan> make_plan(const Checkpoint& checkpoint, const QuantSpec& spec);

// What happens to a tensor of the source; nullptr when the checkpoint has none of that name.
const PlannedTensor* find_planned(const Checkpoint& checkpoint, const Plan& plan, std::string_view name);

// The first bytes of a shard's file, and the text of the index: made when they are written, as together they weigh as
// much as the plan. Part by part, or whole.
Status write_shard_header(const Plan& plan, std::size_t shard, const TextSink& sink);
std::string shard_header(const Plan& plan, std::size_t shard);
Status write_index_text(const Plan& plan, const TextSink& sink);
std::string index_text(const Plan& plan);

// `octavo quantize --dry-run`: as text, and as {"tensors": [{name, dtype, shape, action, why, outputs}], ...}.
Status write_plan_text(const Checkpoint& checkpoint, const Plan& plan, const TextSink& sink);
Status write_plan_json(const Checkpoint& checkpoint, const Plan& plan, const TextSink& sink);
// `--explain NAME`: what happens to the tensors a name, glob or re: names, and why.
Result<std::string> explain(const Checkpoint& checkpoint, const Plan& plan, const std::string& name);

}  // namespace octavo::quant
