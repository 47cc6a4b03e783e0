// Presets, defaults and the table of legal pairs of scheme and output format.
#include "octavo/quant/spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "octavo/base/text.h"

namespace octavo::quant {
namespace {

constexpr std::uint64_t kBlock = 128;  // the block every engine's kernels are written for

constexpr std::array<Scheme, 4> kSchemes{{
    {"dynamic", Granularity::kChannel, 1, 1, Activation::kDynamicToken},
    {"block", Granularity::kBlock, kBlock, kBlock, Activation::kDynamicGroup},
    {"tensor", Granularity::kTensor, 1, 1, Activation::kDynamicToken},
    {"weight-only", Granularity::kChannel, 1, 1, Activation::kNone},
}};

OutputFormat default_format(std::string_view scheme) {
  return scheme == "block" ? OutputFormat::kFp8 : OutputFormat::kCompressedTensors;
}

bool is_legal(std::string_view scheme, OutputFormat format) {
  const auto& pairs = legal_pairs();
  return std::any_of(pairs.begin(), pairs.end(),
                     [&](const LegalPair& pair) { return pair.scheme == scheme && pair.format == format; });
}

}  // namespace

std::optional<Scheme> find_scheme(std::string_view name) {
  const auto it = std::find_if(kSchemes.begin(), kSchemes.end(), [&](const Scheme& s) { return s.name == name; });
  return it == kSchemes.end() ? std::nullopt : std::optional(*it);
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const Scheme& scheme : kSchemes) names.emplace_back(scheme.name);
  return names;
}

std::string_view format_name(OutputFormat format) {
  return format == OutputFormat::kFp8 ? "fp8" : "compressed-tensors";
}

std::optional<OutputFormat> find_format(std::string_view name) {
  if (name == "fp8") return OutputFormat::kFp8;
  if (name == "compressed-tensors") return OutputFormat::kCompressedTensors;
  return std::nullopt;
}

fp8::ScaleDType QuantSpec::scale_dtype_for(bool f16_source) const {
  if (scale_dtype) return *scale_dtype;
  // compressed-tensors stores scales in the model's dtype; BF16 could not hold what an F16 scale resolves.
  const bool f32 = format == OutputFormat::kFp8 || f16_source;
  return f32 ? fp8::ScaleDType::kF32 : fp8::ScaleDType::kBF16;
}

Result<QuantSpec> make_spec(std::string_view scheme, std::string_view format) {
  const auto preset = find_scheme(scheme);
  if (!preset) {
    return usage_error("--scheme {}: unknown; one of {}{}", printable(scheme), fmt::join(scheme_names(), ", "),
                       did_you_mean(scheme, scheme_names(), 1));
  }
  QuantSpec spec;
  spec.scheme = *preset;
  spec.format = default_format(preset->name);
  if (!format.empty()) {
    const auto found = find_format(format);
    if (!found) return usage_error("--format {}: unknown; one of fp8, compressed-tensors", printable(format));
    spec.format = *found;
  }
  return spec;
}

Json spec_json(const QuantSpec& spec) {
  const auto& s = spec.scheme;
  Json out = {{"scheme", s.name}, {"format", format_name(spec.format)}, {"dtype", fp8::format_name(spec.dtype)}};
  if (s.granularity == Granularity::kBlock || s.granularity == Granularity::kGroup) {
    out["block-size"] = fmt::format("{}x{}", s.block_n, s.block_k);
    out["edge"] = spec.edge == Edge::kChannel ? "channel" : "partial";
  }
  out["scale-dtype"] = !spec.scale_dtype ? "default" : *spec.scale_dtype == fp8::ScaleDType::kF32 ? "f32" : "bf16";
  out["pow2-scales"] = spec.pow2_scales;
  out["direct"] = spec.direct;
  out["ignore"] = spec.ignore;
  out["only"] = spec.only;
  out["keep-first"] = spec.keep_first;
  out["keep-last"] = spec.keep_last;
  out["lm-head"] = spec.lm_head;
  return out;
}

Status check_spec(const QuantSpec& spec) {
  if (!is_legal(spec.scheme.name, spec.format)) {
    return usage_error("--scheme {} cannot be written as --format {}: no loader takes it. Legal pairs:\n{}",
                       spec.scheme.name, format_name(spec.format), legal_pairs_table());
  }
  if (spec.dtype != fp8::Format::kE4M3 && spec.dtype != fp8::Format::kE5M2) {
    return usage_error("--dtype {}: only e4m3 and e5m2 are written", fp8::format_name(spec.dtype));
  }
  if (spec.dtype == fp8::Format::kE5M2 && spec.format != OutputFormat::kFp8) {
    return usage_error("--dtype e5m2 needs --format fp8: in {} an 8-bit float means E4M3", format_name(spec.format));
  }
  if (spec.scheme.block_n == 0 || spec.scheme.block_k == 0) return usage_error("--block: sizes must be at least 1");
  if (spec.edge == Edge::kChannel &&
      (spec.scheme.granularity != Granularity::kBlock || spec.format != OutputFormat::kCompressedTensors)) {
    return usage_error(
        "--edge channel needs --scheme block --format compressed-tensors: only there can two schemes "
        "stand in one config");
  }
  if (spec.lm_head && spec.format == OutputFormat::kFp8) {
    return usage_error(
        "--lm-head needs --format compressed-tensors: in the fp8 format every loader keeps lm_head "
        "unquantized and fails on its scale");
  }
  if (!spec.ignore.empty() || !spec.only.empty()) {
    for (const auto* list : {&spec.ignore, &spec.only}) {
      if (std::find(list->begin(), list->end(), "") != list->end()) {
        return usage_error("an empty pattern in --ignore or --only matches nothing");
      }
    }
  }
  return {};
}

const std::vector<LegalPair>& legal_pairs() {
  static const std::vector<LegalPair> kPairs = {
      {"dynamic", OutputFormat::kCompressedTensors, "vLLM, SGLang, transformers (dequantized), TensorRT-LLM"},
      {"block", OutputFormat::kFp8, "vLLM, SGLang (not the Llama family), transformers, TensorRT-LLM"},
      {"block", OutputFormat::kCompressedTensors, "vLLM, SGLang, transformers (dequantized; no experts), TensorRT-LLM"},
      {"tensor", OutputFormat::kCompressedTensors, "vLLM, SGLang (both: no experts), transformers (dequantized)"},
      {"tensor", OutputFormat::kFp8, "vLLM, SGLang"},
      {"weight-only", OutputFormat::kCompressedTensors, "vLLM, SGLang, transformers (dequantized)"},
  };
  return kPairs;
}

std::string legal_pairs_table() {
  std::string out = fmt::format("  {:<12} {:<28} {}\n", "scheme", "format", "loads in");
  for (const LegalPair& pair : legal_pairs()) {
    const bool is_default = default_format(pair.scheme) == pair.format;
    out += fmt::format("  {:<12} {:<28} {}\n", pair.scheme,
                       std::string(format_name(pair.format)) + (is_default ? " (default)" : ""), pair.loaders);
  }
  return out;
}

}  // namespace octavo::quant
