// How a checkpoint on disk says it is quantized: quantization_config of config.json, read into one description.
// Read side only (inspect, verify, dequantize); what `quantize` writes is made in quant/output_config.cc.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "octavo/checkpoint/checkpoint.h"

namespace octavo {

enum class Dialect { kFp8, kCompressedTensors };
std::string_view dialect_name(Dialect dialect);  // "fp8", "compressed-tensors"

enum class WeightGranularity { kTensor, kChannel, kBlock, kGroup };
std::string_view granularity_name(WeightGranularity granularity);
enum class ActivationScheme { kNone, kDynamicToken, kDynamicGroup, kDynamicTensor, kStaticTensor };
std::string_view activation_name(ActivationScheme scheme);

// One group of modules with the same scheme.
struct QuantizationGroup {
  std::vector<std::string> targets;  // compressed-tensors: "Linear", exact names, "re:..."; fp8: {"Linear"}
  WeightGranularity granularity = WeightGranularity::kTensor;
  std::uint64_t block_n = 0, block_k = 0;  // kBlock: both; kGroup: block_k is the group size
  ActivationScheme activation = ActivationScheme::kNone;
  std::string format;  // compressed-tensors: "float-quantized", "naive-quantized"
};

struct QuantizationInfo {
  Dialect dialect = Dialect::kFp8;
  std::vector<QuantizationGroup> groups;  // at least one
  std::vector<std::string> ignore;        // as written: ignore / ignored_layers / modules_to_not_convert
  std::string scale_suffix;               // "weight_scale" or "weight_scale_inv"
  bool e5m2 = false;                      // fmt "e5m2" (fp8 dialect)
  bool pow2_scales = false;               // scale_fmt "ue8m0"

  // "fp8, 128x128 blocks, dynamic activations"
  std::string describe() const;
};

// nullopt: config.json has no quantization_config. An error: one that is malformed or that Octavo does not know yet
// (says which key, with its JSON pointer).
Result<std::optional<QuantizationInfo>> parse_quantization(const Json& config, std::string_view origin);

// The group a module falls in, nullptr when none targets it or it is ignored. Matching is the producer's rule:
// exact name, "re:" anchored at the start, or the class name "Linear" which takes every module.
const QuantizationGroup* group_of(const QuantizationInfo& info, std::string_view module);
bool is_ignored(const QuantizationInfo& info, std::string_view module);

}  // namespace octavo
