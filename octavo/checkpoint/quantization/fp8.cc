// quant_method fp8 in all its spellings: per tensor (AutoFP8, transformers, AngelSlim), blocks (DeepSeek, Qwen).
#include <fmt/format.h>

#include "octavo/base/text.h"
#include "octavo/checkpoint/quantization/parsers.h"

namespace octavo::quantization {
namespace {

Status parse_activations(const Node& node, QuantizationGroup& group) {
  OCTAVO_ASSIGN(const std::string activation, node.text("activation_scheme"));
  if (activation == "static") {
    group.activation = ActivationScheme::kStaticTensor;
  } else if (activation == "dynamic") {
    const bool block = group.granularity == Granularity::kBlock;
    group.activation = block ? ActivationScheme::kDynamicGroup : ActivationScheme::kDynamicTensor;
    group.activation_group = group.block_k;
  } else if (activation.empty()) {
    return node.wrong("activation_scheme", "is missing: every loader needs \"dynamic\" or \"static\"");
  } else {
    return node.wrong("activation_scheme",
                      fmt::format("is \"{}\"; it must be \"dynamic\" or \"static\"", printable(activation)));
  }
  return {};
}

}  // namespace

Status parse_ignore(const Node& node, std::initializer_list<const char*> keys, QuantizationInfo& info) {
  for (const char* key : keys) {
    if (node.get(key) == nullptr) continue;
    OCTAVO_ASSIGN(auto entries, node.strings(key));
    info.ignore.push_back({key, std::move(entries)});
  }
  return {};
}

Result<QuantizationInfo> parse_fp8(const Node& node, std::string_view method) {
  QuantizationInfo info;
  info.dialect = Dialect::kFp8;
  QuantizationGroup group;
  group.pointer = node.pointer;
  group.targets = {"Linear"};
  OCTAVO_ASSIGN(const auto block, node.block("weight_block_size"));
  if (method == "w8a8_fp8") {
    group.granularity = Granularity::kChannel;
    group.activation = ActivationScheme::kDynamicToken;
  } else {
    if (block[0] != 0) {
      group.granularity = Granularity::kBlock;
      group.block_n = block[0];
      group.block_k = block[1];
    }
    OCTAVO_TRY(parse_activations(node, group));
  }
  info.groups.push_back(std::move(group));
  // A block size of null, as opposed to none at all, is how transformers says "per tensor": it has names of its own.
  info.transformers_names = node.has("weight_block_size") && node.get("weight_block_size") == nullptr;

  OCTAVO_ASSIGN(const std::string fmt_name, node.text("fmt"));
  if (fmt_name == "e5m2") {
    info.format = fp8::Format::kE5M2;
  } else if (!fmt_name.empty() && fmt_name != "e4m3") {
    return node.wrong("fmt", fmt::format("is \"{}\"; it must be \"e4m3\" or \"e5m2\"", printable(fmt_name)));
  }
  OCTAVO_ASSIGN(const std::string scale_fmt, node.text("scale_fmt"));
  if (!scale_fmt.empty() && scale_fmt != "ue8m0" && scale_fmt != "float") {
    return node.wrong("scale_fmt", fmt::format("is \"{}\"; it must be \"ue8m0\" or \"float\"", printable(scale_fmt)));
  }
  info.pow2_scales = scale_fmt == "ue8m0";
  // AutoFP8 and AngelSlim write kv_cache_scheme "static"; SGLang reads kv_cache_quant_algo.
  const bool keys_and_values = node.get("kv_cache_scheme") != nullptr || node.get("kv_cache_quant_algo") != nullptr;
  if (keys_and_values) info.kv_cache = "tensor";
  OCTAVO_TRY(parse_ignore(node, {"ignored_layers", "modules_to_not_convert"}, info));
  return info;
}

}  // namespace octavo::quantization
