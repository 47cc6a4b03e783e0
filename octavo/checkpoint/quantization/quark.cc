// AMD Quark: a specification a tensor, for all linears, for a class of modules, or for names by glob.
#include <fmt/format.h>

#include "octavo/base/text.h"
#include "octavo/checkpoint/quantization/parsers.h"

namespace octavo::quantization {
namespace {

// fnmatch's glob as the anchored pattern that targets understand.
std::string glob_pattern(std::string_view glob) {
  std::string out = "re:";
  for (const char c : glob) {
    if (c == '*') {
      out += ".*";
    } else if (c == '?') {
      out += '.';
    } else {
      if (std::string_view("\\.+^$|(){}[]/").find(c) != std::string_view::npos) out += '\\';
      out += c;
    }
  }
  return out + "$";
}

// The specification of a tensor, which newer releases wrap in a list with one entry a step. json == nullptr: none.
Result<Node> tensor_spec(const Node& config, const char* key) {
  const Json* v = config.get(key);
  if (v == nullptr) return Node{nullptr, "", config.origin};
  const std::string pointer = fmt::format("{}/{}", config.pointer, key);
  if (!v->is_array()) return as_object(*v, pointer, config.origin);
  if (v->empty()) return Node{nullptr, "", config.origin};
  if (v->size() > 1) return config.wrong(key, fmt::format("has {} steps; Octavo reads one", v->size()));
  return as_object((*v)[0], pointer + "/0", config.origin);
}

Result<fp8::Format> format_of(const Node& spec) {
  OCTAVO_ASSIGN(const std::string dtype, spec.text("dtype"));
  if (dtype == "fp8_e4m3") return fp8::Format::kE4M3;
  if (dtype == "fp8_e5m2") return fp8::Format::kE5M2;
  return spec.wrong("dtype", fmt::format("is \"{}\", which is not FP8", printable(dtype)));
}

Status parse_weight(const Node& spec, QuantizationGroup& group) {
  OCTAVO_ASSIGN(const std::string scheme, spec.text("qscheme"));
  OCTAVO_ASSIGN(const bool dynamic, spec.boolean("is_dynamic", false));
  if (dynamic) return spec.wrong("is_dynamic", "must be false for weights");
  OCTAVO_ASSIGN(const bool symmetric, spec.boolean("symmetric", true));
  if (!symmetric) return spec.wrong("symmetric", "is not true; FP8 has no zero points");
  if (scheme == "per_tensor") {
    group.granularity = Granularity::kTensor;
  } else if (scheme == "per_channel") {
    group.granularity = Granularity::kChannel;
  } else if (scheme == "per_block") {
    group.granularity = Granularity::kBlock;
    OCTAVO_ASSIGN(const auto block, spec.block("block_size"));
    if (block[0] == 0) return spec.wrong("block_size", "is missing: per_block needs it");
    group.block_n = block[0];
    group.block_k = block[1];
  } else if (scheme == "per_group") {
    group.granularity = Granularity::kGroup;
    OCTAVO_ASSIGN(group.block_k, spec.positive("group_size", 0));
    if (group.block_k == 0) return spec.wrong("group_size", "is missing: per_group needs it");
    group.block_n = 1;
  } else {
    return spec.wrong("qscheme", fmt::format("is \"{}\"; weights are per_tensor, per_channel, per_block or per_group",
                                             printable(scheme)));
  }
  return {};
}

Status parse_input(const Node& spec, QuantizationGroup& group) {
  OCTAVO_TRY(format_of(spec));
  OCTAVO_ASSIGN(const std::string scheme, spec.text("qscheme"));
  OCTAVO_ASSIGN(const bool dynamic, spec.boolean("is_dynamic", false));
  if (scheme == "per_tensor") {
    group.activation = dynamic ? ActivationScheme::kDynamicTensor : ActivationScheme::kStaticTensor;
  } else if (scheme == "per_channel" && dynamic) {
    group.activation = ActivationScheme::kDynamicToken;  // the channels of an input are its tokens
  } else if ((scheme == "per_group" || scheme == "per_block") && dynamic) {
    group.activation = ActivationScheme::kDynamicGroup;
    OCTAVO_ASSIGN(const auto block, spec.block("block_size"));
    OCTAVO_ASSIGN(group.activation_group, spec.positive("group_size", block[1]));
    if (group.activation_group == 0) return spec.wrong("group_size", "is missing: per_group needs it");
  } else {
    return spec.wrong("qscheme", fmt::format("is \"{}\" with is_dynamic {}; inputs are per_tensor, or dynamic and "
                                             "per_channel or per_group",
                                             printable(scheme), dynamic));
  }
  return {};
}

// Appends the group of one configuration, unless it leaves the weights as they are.
Status parse_group(const Node& config, std::vector<std::string> targets, QuantizationInfo& info) {
  OCTAVO_ASSIGN(const Node weight, tensor_spec(config, "weight"));
  if (weight.json == nullptr) return {};
  QuantizationGroup group;
  group.pointer = config.pointer;
  group.targets = std::move(targets);
  OCTAVO_ASSIGN(const fp8::Format format, format_of(weight));
  if (!info.groups.empty() && format != info.format) {
    return weight.wrong("dtype", fmt::format("is {}, but another group has {}", fp8::format_name(format),
                                             fp8::format_name(info.format)));
  }
  info.format = format;
  OCTAVO_TRY(parse_weight(weight, group));
  OCTAVO_ASSIGN(const Node input, tensor_spec(config, "input_tensors"));
  if (input.json != nullptr) OCTAVO_TRY(parse_input(input, group));
  info.groups.push_back(std::move(group));
  return {};
}

}  // namespace

Result<QuantizationInfo> parse_quark(const Node& node) {
  QuantizationInfo info;
  info.dialect = Dialect::kQuark;
  OCTAVO_ASSIGN(const Node global, node.object("global_quant_config"));
  if (global.json != nullptr) OCTAVO_TRY(parse_group(global, {"Linear"}, info));
  IgnoreList kept{"layer_quant_config", {}};
  for (const char* key : {"layer_quant_config", "layer_type_quant_config"}) {
    OCTAVO_ASSIGN(const Node layers, node.object(key));
    if (layers.json == nullptr) continue;
    const bool classes = std::string_view(key) == "layer_type_quant_config";
    for (const auto& [name, value] : layers.json->items()) {
      if (value.is_null()) continue;
      OCTAVO_ASSIGN(const Node layer,
                    as_object(value, fmt::format("{}/{}", layers.pointer, printable(name)), node.origin));
      const bool plain = classes || name.find_first_of("*?[") == std::string::npos;
      std::string target = plain ? name : glob_pattern(name);
      if (layer.get("weight") == nullptr) {
        kept.entries.push_back(std::move(target));
      } else {
        OCTAVO_TRY(parse_group(layer, {std::move(target)}, info));
      }
    }
  }
  if (!kept.entries.empty()) info.ignore.push_back(std::move(kept));
  if (info.groups.empty()) return node.wrong("global_quant_config", "quantizes no weight, nor does any layer's");
  OCTAVO_ASSIGN(const Node exported, node.object("export"));
  if (exported.json != nullptr) {
    OCTAVO_ASSIGN(const auto cached, exported.strings("kv_cache_group"));
    if (!cached.empty()) info.kv_cache = "tensor";
  }
  OCTAVO_TRY(parse_ignore(node, {"exclude"}, info));
  return info;
}

}  // namespace octavo::quantization
