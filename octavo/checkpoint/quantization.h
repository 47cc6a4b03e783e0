// How a checkpoint on disk says it is quantized: quantization_config of config.json or hf_quant_config.json, read into
// one description, and which tensors hold a quantized weight. Read side only (inspect, verify, dequantize, convert);
// what `quantize` writes is made in quant/output_config.cc. Facts: docs/formats.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/checkpoint/checkpoint.h"
#include "octavo/fp8/codec.h"

namespace octavo {

enum class Dialect : std::uint8_t { kFp8, kCompressedTensors, kModelOpt, kMxfp8, kFbgemm, kQuark };
std::string_view dialect_name(Dialect dialect);  // "fp8", "compressed-tensors", "modelopt", "mxfp8", "fbgemm_fp8", ...

enum class Granularity : std::uint8_t { kTensor, kChannel, kBlock, kGroup };
std::string_view granularity_name(Granularity granularity);  // "tensor", "channel", "block", "group"

enum class ActivationScheme : std::uint8_t { kNone, kDynamicToken, kDynamicGroup, kDynamicTensor, kStaticTensor };
std::string_view activation_name(ActivationScheme scheme);

// One group of modules with the same scheme.
struct QuantizationGroup {
  std::string pointer;               // JSON pointer to the group, for messages
  std::vector<std::string> targets;  // "Linear", exact names, "re:..."; the fp8 dialect has {"Linear"}
  Granularity granularity = Granularity::kTensor;
  std::uint64_t block_n = 0, block_k = 0;  // rows and columns of a block; kGroup: block_k is the group size
  ActivationScheme activation = ActivationScheme::kNone;
  std::uint64_t activation_group = 0;  // kDynamicGroup: its size along K
  std::string format;                  // compressed-tensors: "float-quantized", ...; modelopt: its algorithm, "FP8"
};

struct IgnoreList {
  std::string key;                   // "ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", ...
  std::vector<std::string> entries;  // as written
};

struct QuantizationInfo {
  Dialect dialect = Dialect::kFp8;
  std::vector<QuantizationGroup> groups;  // at least one
  std::vector<IgnoreList> ignore;         // every spelling that is present
  fp8::Format format = fp8::Format::kE4M3;
  bool pow2_scales = false;  // scale_fmt "ue8m0"
  // FP8 keys and values: "" (not said), "tensor" or "attn_head" (one scale a head).
  std::string kv_cache;
  // transformers' per-tensor fp8: its scales are named weight_scale_inv and activation_scale.
  bool transformers_names = false;
  std::string file = "config.json";              // or "hf_quant_config.json"
  std::string pointer = "/quantization_config";  // of `json` in that file; "" is the whole of it
  Json json;                                     // as it was read

  // "fp8, 128x128 blocks, dynamic activations in groups of 128"
  std::string describe() const;
};

// nullopt: config.json has no quantization_config (nor a compression_config, nor one inside text_config). An error: one
// that is malformed or is not FP8; it says which key, with its JSON pointer.
Result<std::optional<QuantizationInfo>> parse_quantization(const Json& config, std::string_view origin);
// hf_quant_config.json, which ModelOpt writes beside or instead of config.json's.
Result<QuantizationInfo> parse_hf_quant_config(const Json& file, std::string_view origin);

// The same of a checkpoint's folder: config.json, and hf_quant_config.json where config.json says nothing. What a
// config leaves open, the tensors say: blocks that transformers does not write down, whose names the scales have, FNUZ
// codes.
Result<std::optional<QuantizationInfo>> read_quantization(const Checkpoint& checkpoint);

// A weight in FP8 and the scale that belongs to it, found by name and checked by shape.
struct QuantizedWeight {
  const CheckpointTensor* weight = nullptr;       // [n, k], or [experts, n, k]; an FP8 dtype
  const CheckpointTensor* scale = nullptr;        // nullptr: the checkpoint has none under a known name
  const CheckpointTensor* input_scale = nullptr;  // of static activations; nullptr: none under a known name
  std::string module;                             // the weight's name without ".weight"
  Granularity granularity = Granularity::kTensor;
  // What the config says of the group that targets the module. find_quantized_weights() sets it: match_scale() does not
  // look at targets. nullopt: no group targets it.
  std::optional<std::size_t> group;
  std::uint64_t experts = 1, rows = 0, columns = 0;  // as stored: a 2-D weight is one expert of rows x columns
  std::uint64_t block_n = 0, block_k = 0;            // the region of one scale, in elements: rows and columns
  std::uint64_t scale_columns = 1;                   // scales in a row of an expert's scale grid
  std::uint64_t expert_scales = 0;                   // scales of one expert; 0: all experts share theirs

  // The index, in the row-major scale tensor, of the scale of element [row, col]; rows are counted through all experts.
  std::uint64_t scale_index(std::uint64_t row, std::uint64_t col) const {
    return row / rows * expert_scales + row % rows / block_n * scale_columns + col / block_k;
  }
  // Channels that lie along the columns, as in experts stored [experts, in, out]: one scale a column.
  bool transposed() const { return granularity == Granularity::kChannel && block_k == 1 && columns != 1; }
};

// Every FP8 tensor that holds a weight ("*.weight", or 3-D experts under any name) with its scale, in any shard. A
// scale whose shape fits no granularity is an error naming both shapes.
Result<std::vector<QuantizedWeight>> find_quantized_weights(const Checkpoint& checkpoint, const QuantizationInfo& info);
// The same for one weight; `info` supplies the block size (a grid alone does not tell 576 rows in 5 blocks).
Result<QuantizedWeight> match_scale(const Checkpoint& checkpoint, const QuantizationInfo& info,
                                    const CheckpointTensor& weight);

// The FP8 format of codes on disk.
constexpr fp8::Format code_format(DType fp8_dtype) {
  switch (fp8_dtype) {
    case DType::kF8E5M2: return fp8::Format::kE5M2;
    case DType::kF8E4M3FNUZ: return fp8::Format::kE4M3FNUZ;
    case DType::kF8E5M2FNUZ: return fp8::Format::kE5M2FNUZ;
    default: return fp8::Format::kE4M3;
  }
}

// True for the names of tensors that only serve a quantized model: scales of weights, activations and caches.
bool is_scale_name(std::string_view name);
// The same where the name alone does not tell: "X.scale" beside X.weight in FP8 (DeepSeek-V4), "experts.T_scale_inv"
// beside experts.T in FP8.
bool is_scale_tensor(const Checkpoint& checkpoint, const CheckpointTensor& tensor);

}  // namespace octavo
