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
#include "octavo/checkpoint/quantization.h"
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
  bool via_bf16 = false;         // an F32 source is rounded to BF16 first
  bool bf16_arithmetic = false;  // QuantSpec::bf16_arithmetic
};

// What becomes of a tensor of the source.
enum class Action : std::uint8_t {
  kKeep,     // copied
  kEncode,   // a weight to codes and scales; one that is FP8 already, from its dequantized values
  kRelabel,  // an FP8 weight: its codes are copied, its scales are stored in another form
  kDecode,   // an FP8 weight to BF16
  kScale,    // a scale of activations, stored in another form
  kDrop,     // nothing: a scale that stands in the form of its weight's
};

constexpr std::uint32_t kNoOutput = ~std::uint32_t{0};

struct PlannedTensor {
  std::uint32_t source = 0;                // index into Checkpoint::tensors()
  std::uint32_t output = kNoOutput;        // index into Plan::outputs: codes, values or the copy; kDrop has none
  std::optional<std::uint32_t> scale;      // index into Plan::outputs
  std::optional<std::uint32_t> shared;     // per tensor: weights with the same number share one scale
  std::optional<std::uint32_t> fp8;        // index into Plan::fp8_weights: the source is FP8
  std::optional<WeightEncoding> encoding;  // kEncode, kRelabel
  std::string_view why;                    // in Plan::strings
  Action action = Action::kKeep;

  bool encodes() const { return action == Action::kEncode; }
  bool quantized() const { return encodes() || action == Action::kRelabel; }  // FP8 in the output
};

struct PlannedShard {
  std::string name;                             // as in the source
  std::map<std::string, std::string> metadata;  // of its header
  std::uint32_t first = 0, count = 0;           // its part of Plan::outputs
  std::uint64_t header_bytes = 0;               // length, JSON, padding: shard_header() makes them
  std::uint64_t bytes = 0;                      // of the whole file
};

// Why a loader does not take an output.
struct LoaderRefusal {
  Loader loader = Loader::kVllm;
  std::string why;
};

// A text that is made for the output, beside config.json and the index.
struct PlannedText {
  std::string name, text;
};

struct Plan {
  QuantSpec spec;
  bool convert = false;                // the source is FP8
  std::string source_format;           // of one that is: QuantizationInfo::describe()
  std::vector<PlannedTensor> tensors;  // one per source tensor, same order
  std::vector<OutputTensor> outputs;   // by shard
  std::vector<PlannedShard> shards;
  std::vector<QuantizedWeight> fp8_weights;
  std::uint32_t shared_scales = 0;  // how many PlannedTensor::shared numbers there are
  std::string config_text;          // the output's config.json
  std::vector<PlannedText> texts;   // hf_quant_config.json
  bool has_index = false;           // the output gets an index, as the source has one: index_text() makes it
  std::vector<std::string> warnings;
  std::vector<LoaderRefusal> refused;                // among the warnings: what a loader does not take of this model
  std::vector<std::string> edge_channel;             // modules that --edge channel gave per-channel scales
  std::uint64_t source_bytes = 0, output_bytes = 0;  // of tensors
  std::size_t kept = 0, decoded = 0, dropped = 0;    // of tensors: as they are; FP8 made BF16; scales
  std::size_t quantized = 0, relabelled = 0;         // of tensors; `relabelled` are among `quantized`
  std::uint64_t read_bytes = 0;                      // of the source: without what is dropped
  std::shared_ptr<const StringPool> strings;         // what the views are of; copies of a plan share it
};

// Of a checkpoint that is not quantized yet.
Result<Plan> make_plan(const Checkpoint& checkpoint, const QuantSpec& spec);

// Looks at per-tensor scales too, for a warning. Of one that is FP8, to another scheme or dialect. Weights that are FP8
// stay so: with their codes untouched where can_relabel() says so, else encoded again from their dequantized BF16
// values (F32 with spec.direct). Those that spec.ignore names, and an output head where the format has no FP8 head,
// become BF16. Nothing else is quantized.
Result<Plan> make_convert_plan(const Checkpoint& checkpoint, const QuantSpec& spec);
// The scheme that a checkpoint's FP8 weights have, in the words of find_scheme(). An error where they have several, or
// one that no preset describes.
Result<Scheme> scheme_of(const QuantizationInfo& info, const std::vector<QuantizedWeight>& weights);

// The dtype of a tensor's values as the encoder sees them: of an FP8 source, what its codes are decoded to.
DType value_dtype(const Checkpoint& checkpoint, const Plan& plan, const PlannedTensor& planned);

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
