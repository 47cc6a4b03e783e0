// NVIDIA Model Optimizer: an algorithm's name says everything, or one name a layer.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "octavo/base/text.h"
#include "octavo/checkpoint/quantization/parsers.h"

namespace octavo::quantization {
namespace {

constexpr std::uint64_t kBlock = 128, kMxGroup = 32;

std::string upper(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

// The group of an algorithm, in upper case; nullopt when it is not one of FP8.
std::optional<QuantizationGroup> group_of(const std::string& algorithm) {
  QuantizationGroup group;
  group.format = algorithm;
  if (algorithm == "FP8") {
    group.activation = ActivationScheme::kStaticTensor;
  } else if (algorithm == "FP8_PER_CHANNEL_PER_TOKEN") {
    group.granularity = Granularity::kChannel;
    group.activation = ActivationScheme::kDynamicToken;
  } else if (algorithm == "FP8_PB_WO" || algorithm == "FP8_PB_REAL" || algorithm == "FP8_BLOCK_SCALES") {
    // "WO" is weight only, but what loads it quantizes the activations in groups of 128.
    group.granularity = Granularity::kBlock;
    group.block_n = group.block_k = group.activation_group = kBlock;
    group.activation = ActivationScheme::kDynamicGroup;
  } else if (algorithm == "MXFP8") {
    group.granularity = Granularity::kGroup;
    group.block_n = 1;
    group.block_k = group.activation_group = kMxGroup;
    group.activation = ActivationScheme::kDynamicGroup;
  } else {
    return std::nullopt;
  }
  return group;
}

constexpr std::string_view kReadable =
    "Octavo reads FP8, FP8_PB_WO, FP8_PER_CHANNEL_PER_TOKEN, MXFP8 and MIXED_PRECISION of these";

// quantized_layers: {name: {quant_algo, ...}}, one group an algorithm.
Status parse_mixed(const Node& node, QuantizationInfo& info) {
  OCTAVO_ASSIGN(const Node layers, node.object("quantized_layers"));
  if (layers.json == nullptr || layers.json->empty()) {
    return node.wrong("quantized_layers", "is missing: MIXED_PRECISION says there what each layer is");
  }
  std::map<std::string, std::vector<std::string>> names;  // by algorithm
  for (const auto& [name, value] : layers.json->items()) {
    OCTAVO_ASSIGN(const Node layer, as_object(value, layers.pointer + "/" + printable(name), node.origin));
    OCTAVO_ASSIGN(std::string algorithm, layer.text("quant_algo"));
    names[upper(std::move(algorithm))].push_back(name);
  }
  std::vector<std::string> foreign;
  for (auto& [algorithm, targets] : names) {
    auto group = group_of(algorithm);
    if (!group) {
      foreign.push_back(fmt::format("{} in {} layers", printable(algorithm), targets.size()));
      continue;
    }
    group->pointer = layers.pointer;
    group->targets = std::move(targets);
    info.groups.push_back(std::move(*group));
  }
  if (!foreign.empty()) {
    return node.wrong("quantized_layers",
                      fmt::format("of MIXED_PRECISION hold {}, which is not FP8", fmt::join(foreign, ", ")));
  }
  return {};
}

}  // namespace

Result<QuantizationInfo> parse_modelopt(const Node& whole) {
  QuantizationInfo info;
  info.dialect = Dialect::kModelOpt;
  OCTAVO_ASSIGN(const Node nested, whole.object("quantization"));
  const Node& node = nested.json != nullptr ? nested : whole;
  OCTAVO_ASSIGN(std::string algorithm, node.text("quant_algo"));
  if (algorithm.empty()) return node.wrong("quant_algo", "is missing: it says what ModelOpt has done");
  algorithm = upper(std::move(algorithm));
  if (algorithm == "MIXED_PRECISION") {
    OCTAVO_TRY(parse_mixed(node, info));
  } else {
    auto group = group_of(algorithm);
    if (!group) {
      return node.wrong("quant_algo", fmt::format("is \"{}\", which is not FP8; {}", printable(algorithm), kReadable));
    }
    group->pointer = node.pointer;
    group->targets = {"Linear"};
    info.groups.push_back(std::move(*group));
  }
  const Json* algo = node.get("kv_cache_quant_algo");
  const Json* scheme = node.get("kv_cache_scheme");
  const bool fp8_algo = algo != nullptr && algo->is_string() && upper(algo->get<std::string>()) == "FP8";
  const bool fp8_scheme = scheme != nullptr && (*scheme == Json("FP8") ||
                                                (scheme->is_object() && scheme->value("num_bits", Json()) == Json(8)));
  if (fp8_algo || fp8_scheme) info.kv_cache = "tensor";
  OCTAVO_TRY(parse_ignore(node, {"exclude_modules", "ignore"}, info));
  return info;
}

}  // namespace octavo::quantization
