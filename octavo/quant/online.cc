// The names of online quantization and what they stand for.
#include "octavo/quant/online.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "octavo/base/text.h"

namespace octavo::quant {
namespace {

struct OnlineName {
  std::string_view name, scheme;
};
constexpr std::array<OnlineName, 6> kNames{{
    {"fp8", "tensor"},
    {"fp8_per_tensor", "tensor"},
    {"fp8_channel", "dynamic"},
    {"fp8_per_channel", "dynamic"},
    {"fp8_block", "block"},
    {"fp8_per_block", "block"},
}};

}  // namespace

std::vector<std::string> online_names() {
  std::vector<std::string> names;
  for (const OnlineName& entry : kNames) names.emplace_back(entry.name);
  return names;
}

Result<QuantSpec> online_spec(std::string_view name, Edge edge) {
  const auto* found = std::find_if(kNames.begin(), kNames.end(), [&](const OnlineName& e) { return e.name == name; });
  if (found == kNames.end()) {
    return usage_error("--quantization {}: unknown; one of {}{}", printable(name), fmt::join(online_names(), ", "),
                       did_you_mean(name, online_names(), 1));
  }
  const bool edges = edge == Edge::kChannel;
  OCTAVO_ASSIGN(QuantSpec spec, make_spec(found->scheme, edges ? format_name(OutputFormat::kCompressedTensors) : ""));
  if (edges && spec.scheme.granularity != Granularity::kBlock) {
    return usage_error("--edge channel goes with --quantization fp8_block, not {}: only blocks can fail to fit", name);
  }
  spec.edge = edge;
  spec.online = true;
  return spec;
}

backend::InputRounding input_rounding(const QuantSpec& spec, const WeightEncoding& encoding) {
  using Kind = backend::InputRounding::Kind;
  backend::InputRounding rounding;
  if (spec.scheme.activation == Activation::kNone) return rounding;
  // Heads and edges are per channel in a scheme of blocks, and their inputs per token.
  const bool groups =
      spec.scheme.activation == Activation::kDynamicGroup && encoding.granularity == Granularity::kBlock;
  rounding.kind = groups ? Kind::kDynamicGroup : Kind::kDynamicToken;
  if (groups) {
    rounding.group = spec.scheme.block_k;
    rounding.pow2_scales = spec.pow2_scales && spec.format == OutputFormat::kFp8;  // only there: scale_fmt
  }
  return rounding;
}

}  // namespace octavo::quant
