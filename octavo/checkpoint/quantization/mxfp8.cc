// quant_method mxfp8 of vLLM, SGLang and transformers: one dialect, two names of the scale.
#include <fmt/format.h>

#include "octavo/base/text.h"
#include "octavo/checkpoint/quantization/parsers.h"

namespace octavo::quantization {

Result<QuantizationInfo> parse_mxfp8(const Node& node) {
  constexpr std::uint64_t kGroup = 32;  // of the MX formats
  QuantizationInfo info;
  info.dialect = Dialect::kMxfp8;
  OCTAVO_ASSIGN(const auto block, node.block("weight_block_size"));
  if (block[0] != 0 && (block[0] != 1 || block[1] != kGroup)) {
    return node.wrong("weight_block_size", fmt::format("is [{}, {}]; mxfp8 has [1, 32]", block[0], block[1]));
  }
  OCTAVO_ASSIGN(const std::string activation, node.text("activation_scheme"));
  if (!activation.empty() && activation != "dynamic") {
    return node.wrong("activation_scheme", fmt::format("is \"{}\"; mxfp8 has \"dynamic\"", printable(activation)));
  }
  QuantizationGroup group;
  group.pointer = node.pointer;
  group.targets = {"Linear"};
  group.granularity = Granularity::kGroup;
  group.block_n = 1;
  group.block_k = kGroup;
  group.activation = ActivationScheme::kDynamicGroup;
  group.activation_group = kGroup;
  info.groups.push_back(std::move(group));
  OCTAVO_TRY(parse_ignore(node, {"ignored_layers", "modules_to_not_convert"}, info));
  return info;
}

}  // namespace octavo::quantization
