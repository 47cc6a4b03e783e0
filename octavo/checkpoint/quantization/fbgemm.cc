// quant_method fbgemm_fp8: one scale a row, activations per token with a bound on their largest magnitude.
#include "octavo/checkpoint/quantization/parsers.h"

namespace octavo::quantization {

Result<QuantizationInfo> parse_fbgemm(const Node& node) {
  QuantizationInfo info;
  info.dialect = Dialect::kFbgemm;
  QuantizationGroup group;
  group.pointer = node.pointer;
  group.targets = {"Linear"};
  group.granularity = Granularity::kChannel;
  group.activation = ActivationScheme::kDynamicToken;
  info.groups.push_back(std::move(group));
  if (const Json* bound = node.get("activation_scale_ub"); bound != nullptr && !bound->is_number()) {
    return node.wrong("activation_scale_ub", "must be a number");
  }
  OCTAVO_TRY(parse_ignore(node, {"modules_to_not_convert"}, info));
  return info;
}

}  // namespace octavo::quantization
