// quantization_config of the fp8 and compressed-tensors dialects. Facts: docs/formats.md.
#include "octavo/checkpoint/quantization.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "octavo/base/ceil_div.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/group_targets.h"

namespace octavo {
namespace {

// "128x128".
std::optional<std::array<std::uint64_t, 2>> parse_block_text(std::string_view text) {
  std::array<std::uint64_t, 2> out{};
  const auto parts = split(text, 'x');
  if (parts.size() != 2) return std::nullopt;
  for (std::size_t i = 0; i < 2; ++i) {
    const char* end = parts[i].data() + parts[i].size();
    const auto [at, error] = std::from_chars(parts[i].data(), end, out[i]);
    if (error != std::errc() || at != end || out[i] == 0) return std::nullopt;
  }
  return out;
}

// A JSON object with its place, so that every message can point at the key.
struct Node {
  const Json* json;
  std::string pointer;
  std::string_view origin;

  const Json* get(const char* key) const {
    const auto it = json->find(key);
    return it == json->end() || it->is_null() ? nullptr : &*it;
  }
  Error wrong(const char* key, std::string_view problem) const {
    return failure("{}: {}/{} {}", origin, pointer, key, problem);
  }
  // The string at `key`, "" when absent or null.
  Result<std::string> text(const char* key) const {
    const Json* v = get(key);
    if (v == nullptr) return std::string();
    if (!v->is_string()) return wrong(key, fmt::format("must be a string, not {}", json_type_name(*v)));
    return v->get<std::string>();
  }
  Result<std::vector<std::string>> strings(const char* key) const {
    std::vector<std::string> out;
    const Json* v = get(key);
    if (v == nullptr) return out;
    if (!v->is_array()) return wrong(key, fmt::format("must be a list, not {}", json_type_name(*v)));
    for (const Json& item : *v) {
      if (!item.is_string()) return wrong(key, fmt::format("must hold strings, not {}", json_type_name(item)));
      out.push_back(item.get<std::string>());
    }
    return out;
  }
  // [rows, columns] of a block: two positive whole numbers, or "128x128" as old compressed-tensors wrote it; {0, 0}
  // when absent.
  Result<std::array<std::uint64_t, 2>> block(const char* key) const {
    const Json* v = get(key);
    if (v == nullptr) return std::array<std::uint64_t, 2>{0, 0};
    if (v->is_string()) {
      if (const auto old = parse_block_text(v->get_ref<const std::string&>())) return *old;
    }
    const auto positive = [](const Json& n) { return n.is_number_unsigned() && n.get<std::uint64_t>() > 0; };
    if (!v->is_array() || v->size() != 2 || !positive((*v)[0]) || !positive((*v)[1])) {
      return wrong(key, "must be two positive whole numbers, [rows, columns]");
    }
    return std::array{(*v)[0].get<std::uint64_t>(), (*v)[1].get<std::uint64_t>()};
  }
};

Result<QuantizationInfo> parse_fp8(const Node& node) {
  QuantizationInfo info;
  info.dialect = Dialect::kFp8;
  QuantizationGroup group;
  group.pointer = node.pointer;
  group.targets = {"Linear"};
  OCTAVO_ASSIGN(const auto block, node.block("weight_block_size"));
  if (block[0] != 0) {
    group.granularity = Granularity::kBlock;
    group.block_n = block[0];
    group.block_k = block[1];
  }
  OCTAVO_ASSIGN(const std::string activation, node.text("activation_scheme"));
  if (activation == "static") {
    group.activation = ActivationScheme::kStaticTensor;
  } else if (activation == "dynamic") {
    group.activation = block[0] != 0 ? ActivationScheme::kDynamicGroup : ActivationScheme::kDynamicTensor;
    group.activation_group = block[1];
  } else if (activation.empty()) {
    return node.wrong("activation_scheme", "is missing: every loader needs \"dynamic\" or \"static\"");
  } else {
    return node.wrong("activation_scheme",
                      fmt::format("is \"{}\"; it must be \"dynamic\" or \"static\"", printable(activation)));
  }
  info.groups.push_back(std::move(group));

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
  for (const char* key : {"ignored_layers", "modules_to_not_convert"}) {
    if (node.get(key) == nullptr) continue;
    OCTAVO_ASSIGN(auto entries, node.strings(key));
    info.ignore.push_back({key, std::move(entries)});
  }
  return info;
}

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
Result<std::string> ct_strategy(const Node& args) {
  OCTAVO_ASSIGN(std::string strategy, args.text("strategy"));
  if (!strategy.empty()) return strategy;
  const Json* size = args.get("group_size");
  if (size == nullptr) return std::string("tensor");
  return std::string(*size == Json(-1) ? "channel" : "group");
}

Status parse_ct_weights(const Node& weights, QuantizationGroup& group) {
  OCTAVO_TRY(check_is_fp8(weights));
  if (const Json* dynamic = weights.get("dynamic"); dynamic != nullptr && *dynamic != Json(false)) {
    return weights.wrong("dynamic", "must be false for weights");
  }
  OCTAVO_ASSIGN(const std::string strategy, ct_strategy(weights));
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
    const Json* size = weights.get("group_size");
    if (size == nullptr || !size->is_number_unsigned() || *size == Json(0)) {
      return weights.wrong("group_size", "must be a positive whole number for strategy \"group\"");
    }
    group.granularity = Granularity::kGroup;
    group.block_n = 1;
    group.block_k = size->get<std::uint64_t>();
  } else {
    return weights.wrong(
        "strategy", fmt::format("is \"{}\"; FP8 weights have tensor, channel, block or group", printable(strategy)));
  }
  return {};
}

Status parse_ct_activations(const Node& args, QuantizationGroup& group) {
  OCTAVO_TRY(check_is_fp8(args));
  const Json* dynamic = args.get("dynamic");
  const bool is_dynamic = dynamic != nullptr && *dynamic == Json(true);
  OCTAVO_ASSIGN(const std::string strategy, ct_strategy(args));
  if (strategy == "token" && is_dynamic) {
    group.activation = ActivationScheme::kDynamicToken;
  } else if (strategy == "group" && is_dynamic) {
    const Json* size = args.get("group_size");
    if (size == nullptr || !size->is_number_unsigned() || *size == Json(0)) {
      return args.wrong("group_size", "must be a positive whole number for strategy \"group\"");
    }
    group.activation = ActivationScheme::kDynamicGroup;
    group.activation_group = size->get<std::uint64_t>();
  } else if (strategy == "tensor") {
    group.activation = is_dynamic ? ActivationScheme::kDynamicTensor : ActivationScheme::kStaticTensor;
  } else {
    return args.wrong("strategy", fmt::format("is \"{}\" with dynamic {}; activations are token or group (dynamic) or "
                                              "tensor",
                                              printable(strategy), is_dynamic ? "true" : "false"));
  }
  return {};
}

Result<QuantizationInfo> parse_compressed_tensors(const Node& node) {
  QuantizationInfo info;
  info.dialect = Dialect::kCompressedTensors;
  const Json* groups = node.get("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty()) {
    return node.wrong("config_groups", "must be an object with at least one group");
  }
  OCTAVO_ASSIGN(const std::string format, node.text("format"));
  if (node.get("ignore") != nullptr) {
    OCTAVO_ASSIGN(auto entries, node.strings("ignore"));
    info.ignore.push_back({"ignore", std::move(entries)});
  }
  for (const auto& [name, value] : groups->items()) {
    const Node group_node{&value, fmt::format("{}/config_groups/{}", node.pointer, printable(name)), node.origin};
    if (!value.is_object()) {
      return failure("{}: {} must be an object, not {}", node.origin, group_node.pointer, json_type_name(value));
    }
    QuantizationGroup group;
    group.pointer = group_node.pointer;
    OCTAVO_ASSIGN(group.targets, group_node.strings("targets"));
    OCTAVO_ASSIGN(group.format, group_node.text("format"));
    if (group.format.empty()) group.format = format;
    const Json* weights = group_node.get("weights");
    if (weights == nullptr || !weights->is_object()) return group_node.wrong("weights", "must be an object");
    OCTAVO_TRY(parse_ct_weights({weights, group_node.pointer + "/weights", node.origin}, group));
    if (const Json* inputs = group_node.get("input_activations")) {
      if (!inputs->is_object()) return group_node.wrong("input_activations", "must be an object or null");
      OCTAVO_TRY(parse_ct_activations({inputs, group_node.pointer + "/input_activations", node.origin}, group));
    }
    info.groups.push_back(std::move(group));
  }
  return info;
}

std::string describe_group(const QuantizationGroup& group) {
  std::string weights;
  switch (group.granularity) {
    case Granularity::kTensor: weights = "per tensor"; break;
    case Granularity::kChannel: weights = "per channel"; break;
    case Granularity::kBlock: weights = fmt::format("{}x{} blocks", group.block_n, group.block_k); break;
    case Granularity::kGroup: weights = fmt::format("groups of {}", group.block_k); break;
  }
  std::string activations = std::string(activation_name(group.activation));
  if (group.activation == ActivationScheme::kDynamicGroup) activations += fmt::format(" of {}", group.activation_group);
  return fmt::format("{}, {}", weights, activations);
}

}  // namespace

std::string_view dialect_name(Dialect dialect) {
  static constexpr std::array<std::string_view, 6> kNames = {"fp8",   "compressed-tensors", "modelopt",
                                                             "mxfp8", "fbgemm_fp8",         "quark"};
  return kNames[static_cast<std::size_t>(dialect)];
}

std::string_view granularity_name(Granularity granularity) {
  static constexpr std::array<std::string_view, 4> kNames = {"tensor", "channel", "block", "group"};
  return kNames[static_cast<std::size_t>(granularity)];
}

std::string_view activation_name(ActivationScheme scheme) {
  static constexpr std::array<std::string_view, 5> kNames = {
      "activations not quantized", "dynamic activations per token", "dynamic activations in groups",
      "dynamic activations", "static activations per tensor"};
  return kNames[static_cast<std::size_t>(scheme)];
}

std::string QuantizationInfo::describe() const {
  std::vector<std::string> parts;
  for (const QuantizationGroup& group : groups) parts.push_back(describe_group(group));
  return fmt::format("{} {}, {}", dialect_name(dialect), fp8::format_name(format), fmt::join(parts, "; "));
}

Result<std::optional<QuantizationInfo>> parse_quantization(const Json& config, std::string_view origin) {
  const auto it = config.find("quantization_config");
  if (it == config.end() || it->is_null()) return std::optional<QuantizationInfo>();
  const Node node{&*it, "/quantization_config", origin};
  if (!it->is_object()) {
    return failure("{}: /quantization_config must be an object, not {}", origin, json_type_name(*it));
  }
  OCTAVO_ASSIGN(const std::string method, node.text("quant_method"));
  if (method == "fp8") {
    OCTAVO_ASSIGN(QuantizationInfo info, parse_fp8(node));
    info.json = *it;
    return std::optional(std::move(info));
  }
  if (method == "compressed-tensors") {
    OCTAVO_ASSIGN(QuantizationInfo info, parse_compressed_tensors(node));
    info.json = *it;
    return std::optional(std::move(info));
  }
  if (method.empty()) return node.wrong("quant_method", "is missing");
  return node.wrong("quant_method",
                    fmt::format("is \"{}\"; Octavo reads fp8 and compressed-tensors", printable(method)));
}

Result<std::optional<QuantizationInfo>> read_quantization(const Checkpoint& checkpoint) {
  return parse_quantization(checkpoint.config(), checkpoint.config_path().string());
}

bool is_scale_name(std::string_view name) {
  static constexpr std::array<std::string_view, 8> kSuffixes = {
      ".weight_scale", ".weight_scale_inv", ".input_scale", ".activation_scale",
      ".k_scale",      ".v_scale",          ".q_scale",     ".kv_scale"};
  return std::any_of(kSuffixes.begin(), kSuffixes.end(), [&](std::string_view s) { return name.ends_with(s); });
}

Result<QuantizedWeight> match_scale(const Checkpoint& checkpoint, const QuantizationInfo& info,
                                    const CheckpointTensor& weight) {
  constexpr std::string_view kSuffix = ".weight";
  QuantizedWeight out;
  out.weight = &weight;
  out.module = weight.name.substr(0, weight.name.size() - kSuffix.size());
  for (const char* suffix : {"_scale", "_scale_inv"}) {
    if (out.scale == nullptr) out.scale = checkpoint.find(weight.name + suffix);
  }
  for (const char* suffix : {".input_scale", ".activation_scale"}) {
    if (out.input_scale == nullptr) out.input_scale = checkpoint.find(out.module + suffix);
  }
  if (weight.shape.size() != 2) {
    return failure("tensor \"{}\": an FP8 weight must have two dimensions, not {}", printable(weight.name),
                   shape_string(weight.shape));
  }
  const std::uint64_t n = weight.shape[0], k = weight.shape[1];
  out.rows = n;
  out.columns = k;
  out.block_n = std::max<std::uint64_t>(n, 1);
  out.block_k = std::max<std::uint64_t>(k, 1);
  if (out.scale == nullptr) return out;

  const Shape& s = out.scale->shape;
  const auto count = element_count(s).value_or(0);
  if (count == 1 && (s.size() <= 1 || (n > 1 && k > 1))) {
    // [] or [1]; also a [1, 1] grid, where one block covers the whole weight.
    out.granularity = s.size() <= 1 ? Granularity::kTensor : Granularity::kBlock;
    return out;
  }
  // A block grid is told by the config's block size; channel scales by their shape.
  for (const QuantizationGroup& group : info.groups) {
    if (group.granularity != Granularity::kBlock && group.granularity != Granularity::kGroup) continue;
    if (s == Shape{ceil_div(n, group.block_n), ceil_div(k, group.block_k)}) {
      out.granularity = group.granularity;
      out.block_n = group.block_n;
      out.block_k = group.block_k;
      out.scale_columns = s[1];
      return out;
    }
  }
  if (s == Shape{n, 1} || s == Shape{n}) {
    out.granularity = Granularity::kChannel;
    out.block_n = 1;
    return out;
  }
  return failure("tensor \"{}\": scale of shape {} fits no granularity of a weight of shape {}",
                 printable(out.scale->name), shape_string(s), shape_string(weight.shape));
}

Result<std::vector<QuantizedWeight>> find_quantized_weights(const Checkpoint& checkpoint,
                                                            const QuantizationInfo& info) {
  std::vector<QuantizedWeight> out;
  OCTAVO_ASSIGN(const GroupTargets targets, GroupTargets::compile(info));
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (!is_fp8(tensor.dtype) || !tensor.name.ends_with(".weight")) continue;
    OCTAVO_ASSIGN(QuantizedWeight weight, match_scale(checkpoint, info, tensor));
    OCTAVO_ASSIGN(const auto match, targets.find(weight.module, /*linear=*/true));
    if (match) weight.group = match->group;
    out.push_back(std::move(weight));
  }
  return out;
}

}  // namespace octavo
