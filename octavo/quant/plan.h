// The explicit list of what a quantization will do: every output tensor's name, dtype, shape and place, before a byte
// of data is read. Made from the shards' headers and config.json alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/quant/spec.h"

namespace octavo::quant {

struct OutputTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint32_t shard = 0;   // index into Plan::shards
  std::uint64_t offset = 0;  // from the start of the shard's file
  std::uint64_t bytes = 0;
  std::uint32_t tensor = 0;  // index into Plan::tensors: whose codes, scale or copy it is
};

// How one weight [n, k] becomes codes and scales. One scale for each block_n x block_k region; the regions at the
// edges may be smaller. Per tensor: n x k; per channel: 1 x k; per group: 1 x group.
struct WeightEncoding {
  Granularity granularity = Granularity::kChannel;
  std::uint64_t block_n = 1, block_k = 1;
  fp8::Format format = fp8::Format::kE4M3;
  fp8::ScaleDType scale_dtype = fp8::ScaleDType::kF32;
  bool pow2_scales = false;
  bool via_bf16 = false;  // an F32 source is rounded to BF16 first
};

struct PlannedTensor {
  std::uint32_t source = 0;  // index into Checkpoint::tensors()
  bool quantize = false;
  std::string why;
  std::uint32_t output = 0;                // index into Plan::outputs: the codes, or the copy
  std::optional<std::uint32_t> scale;      // index into Plan::outputs
  std::optional<WeightEncoding> encoding;  // when quantize
  std::optional<std::uint32_t> shared;     // per tensor: weights with the same number share one scale
};

struct PlannedShard {
  std::string name;         // as in the source
  std::string header;       // the file's first bytes: length, JSON, padding
  std::uint64_t bytes = 0;  // of the whole file
};

struct Plan {
  QuantSpec spec;
  std::vector<PlannedTensor> tensors;  // one per source tensor, same order
  std::vector<OutputTensor> outputs;
  std::vector<PlannedShard> shards;
  std::uint32_t shared_scales = 0;        // how many PlannedTensor::shared numbers there are
  std::string config_text;                // the output's config.json
  std::optional<std::string> index_text;  // the output's index, where the source has one
  std::vector<std::string> warnings;
  std::vector<std::string> edge_channel;             // modules that --edge channel gave per-channel scales
  std::uint64_t source_bytes = 0, output_bytes = 0;  // of tensors
  std::size_t quantized = 0;
};

Result<Plan> make_plan(const Checkpoint& checkpoint, const QuantSpec& spec);

// What happens to a tensor of the source; nullptr when the checkpoint has none of that name.
const PlannedTensor* find_planned(const Checkpoint& checkpoint, const Plan& plan, std::string_view name);

// `octavo quantize --dry-run`: as text, and as {"tensors": [{name, dtype, shape, action, why, outputs}], ...}.
std::string format_plan(const Checkpoint& checkpoint, const Plan& plan);
Json plan_json(const Checkpoint& checkpoint, const Plan& plan);
// `--explain NAME`: what happens to the tensors a name, glob or re: names, and why.
Result<std::string> explain(const Checkpoint& checkpoint, const Plan& plan, const std::string& name);

}  // namespace octavo::quant
