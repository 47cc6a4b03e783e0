// quant_method compressed-tensors: groups of modules with their QuantizationArgs.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "octavo/base/text.h"
#include "octavo/checkpoint/quantization/parsers.h"

namespace octavo::quantization {
namespace {

// QuantizationArgs of compressed-tensors that are FP8: num_bits 8, type float, symmetric.
Status check_is_fp8(const Node& args) {
  const Json* bits = args.get("num_bits");
  OCTAVO_ASSIGN(const std::string type, args.text("type"));
  const std::string shown = fmt::format("{}{}", type.empty() ? "int" : type, bits ? bits->dump() : "8");
  if (type != "float" || (bits != nullptr && *bits != Json(8))) {
    return args.wrong("type", fmt::format("and num_bits describe {}, which is not FP8", printable(shown)));
  }
  if (const Json* symmetric = args.get("symmetric"); symmetric != nullptr && *symmetric != Json(true)) {
    return args.wrong("symmetric", "is not true; FP8 has no zero points");
  }
  return {};
}

// The strategy; without one compressed-tensors goes by group_size: none is tensor, -1 channel, above 0 group.
Result<std::string> strategy_of(const Node& args) {
  OCTAVO_ASSIGN(std::string strategy, args.text("strategy"));
  if (!strategy.empty()) return strategy;
  const Json* size = args.get("group_size");
  if (size == nullptr) return std::string("tensor");
  return std::string(*size == Json(-1) ? "channel" : "group");
}

Result<std::uint64_t> group_size(const Node& args) {
  const Json* size = args.get("group_size");
  if (size == nullptr || !size->is_number_unsigned() || *size == Json(0)) {
    return args.wrong("group_size", "must be a positive whole number for strategy \"group\"");
  }
  return size->get<std::uint64_t>();
}

Status parse_weights(const Node& weights, QuantizationGroup& group) {
  OCTAVO_TRY(check_is_fp8(weights));
  if (const Json* dynamic = weights.get("dynamic"); dynamic != nullptr && *dynamic != Json(false)) {
    return weights.wrong("dynamic", "must be false for weights");
  }
  OCTAVO_ASSIGN(const std::string strategy, strategy_of(weights));
  if (strategy == "tensor") {
    group.granularity = Granularity::kTensor;
  } else if (strategy == "channel") {
    group.granularity = Granularity::kChannel;
  } else if (strategy == "block") {
    group.granularity = Granularity::kBlock;
    OCTAVO_ASSIGN(const auto block, weights.block("block_structure"));
    if (block[0] == 0) return weights.wrong("block_structure", "is missing: strategy \"block\" needs it");
    group.block_n = block[0];
    group.block_k = block[1];
  } else if (strategy == "group") {
    group.granularity = Granularity::kGroup;
    group.block_n = 1;
    OCTAVO_ASSIGN(group.block_k, group_size(weights));
  } else {
    return weights.wrong(
        "strategy", fmt::format("is \"{}\"; FP8 weights have tensor, channel, block or group", printable(strategy)));
  }
  return {};
}

Status parse_activations(const Node& args, QuantizationGroup& group) {
  OCTAVO_TRY(check_is_fp8(args));
  const Json* dynamic = args.get("dynamic");
  const bool is_dynamic = dynamic != nullptr && *dynamic == Json(true);
  OCTAVO_ASSIGN(const std::string strategy, strategy_of(args));
  if (strategy == "token" && is_dynamic) {
    group.activation = ActivationScheme::kDynamicToken;
  } else if (strategy == "group" && is_dynamic) {
    group.activation = ActivationScheme::kDynamicGroup;
    OCTAVO_ASSIGN(group.activation_group, group_size(args));
  } else if (strategy == "tensor") {
    group.activation = is_dynamic ? ActivationScheme::kDynamicTensor : ActivationScheme::kStaticTensor;
  } else {
    return args.wrong("strategy", fmt::format("is \"{}\" with dynamic {}; activations are token or group (dynamic) or "
                                              "tensor",
                                              printable(strategy), is_dynamic ? "true" : "false"));
  }
  return {};
}

// A value may be the name of a preset's list of targets: {"FP8_DYNAMIC": ["Linear"]}.
Status parse_preset(const std::string& name, const Json& targets, const Node& groups, QuantizationGroup& group) {
  struct Preset {
    std::string_view name;
    Granularity granularity;
    std::uint64_t block_n, block_k;
    ActivationScheme activation;
    std::uint64_t activation_group;
    std::string_view format;
  };
  using enum Granularity;
  using enum ActivationScheme;
  static constexpr std::array<Preset, 5> kPresets{
      {{"FP8", kTensor, 0, 0, kStaticTensor, 0, "float-quantized"},
       {"FP8_DYNAMIC", kChannel, 0, 0, kDynamicToken, 0, "float-quantized"},
       {"FP8_BLOCK", kBlock, 128, 128, kDynamicGroup, 128, "float-quantized"},
       {"MXFP8", kGroup, 1, 32, kDynamicGroup, 32, "mxfp8-quantized"},
       {"MXFP8A16", kGroup, 1, 32, kNone, 0, "mxfp8-quantized"}}};
  const auto preset = std::find_if(kPresets.begin(), kPresets.end(), [&](const Preset& p) { return p.name == name; });
  if (preset == kPresets.end()) {
    return groups.wrong(printable(name), fmt::format("must be an object, not {}: no preset of FP8 has this name",
                                                     json_type_name(targets)));
  }
  for (const Json& target : targets) {
    if (!target.is_string()) {
      return groups.wrong(printable(name), fmt::format("must hold strings, not {}", json_type_name(target)));
    }
    group.targets.push_back(target.get<std::string>());
  }
  group.granularity = preset->granularity;
  group.block_n = preset->block_n;
  group.block_k = preset->block_k;
  group.activation = preset->activation;
  group.activation_group = preset->activation_group;
  group.format = preset->format;
  return {};
}

// Old releases said the key/value cache's scheme as a group whose one target is the attention's class.
bool is_attention(const std::vector<std::string>& targets) {
  return targets.size() == 1 && targets[0].ends_with("Attention");
}

Status parse_group(const std::string& name, const Json& value, const Node& groups, const std::string& format,
                   QuantizationInfo& info) {
  QuantizationGroup group;
  group.pointer = fmt::format("{}/{}", groups.pointer, printable(name));
  if (value.is_array()) {
    OCTAVO_TRY(parse_preset(name, value, groups, group));
    info.groups.push_back(std::move(group));
    return {};
  }
  OCTAVO_ASSIGN(const Node node, as_object(value, group.pointer, groups.origin));
  OCTAVO_ASSIGN(group.targets, node.strings("targets"));
  if (is_attention(group.targets)) {
    info.kv_cache = "tensor";
    return {};
  }
  OCTAVO_ASSIGN(group.format, node.text("format"));
  if (group.format.empty()) group.format = format;
  const Json* weights = node.get("weights");
  if (weights == nullptr || !weights->is_object()) return node.wrong("weights", "must be an object");
  OCTAVO_TRY(parse_weights({weights, group.pointer + "/weights", groups.origin}, group));
  if (const Json* inputs = node.get("input_activations")) {
    if (!inputs->is_object()) return node.wrong("input_activations", "must be an object or null");
    OCTAVO_TRY(parse_activations({inputs, group.pointer + "/input_activations", groups.origin}, group));
  }
  info.groups.push_back(std::move(group));
  return {};
}

}  // namespace

Result<QuantizationInfo> parse_compressed_tensors(const Node& node) {
  QuantizationInfo info;
  info.dialect = Dialect::kCompressedTensors;
  const Json* groups = node.get("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty()) {
    return node.wrong("config_groups", "must be an object with at least one group");
  }
  OCTAVO_ASSIGN(const std::string format, node.text("format"));
  OCTAVO_TRY(parse_ignore(node, {"ignore"}, info));
  const Node groups_node{groups, node.pointer + "/config_groups", node.origin};
  for (const auto& [name, value] : groups->items()) OCTAVO_TRY(parse_group(name, value, groups_node, format, info));
  if (info.groups.empty()) return node.wrong("config_groups", "must hold a group with weights");
  OCTAVO_ASSIGN(const Node cache, node.object("kv_cache_scheme"));
  if (cache.json != nullptr) {
    OCTAVO_ASSIGN(const std::string strategy, cache.text("strategy"));
    info.kv_cache = strategy == "attn_head" ? "attn_head" : "tensor";
  }
  return info;
}

}  // namespace octavo::quantization
