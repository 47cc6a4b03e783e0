// Presets, defaults and the table of legal pairs of scheme and output format.
#include "octavo/quant/spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "octavo/base/text.h"

namespace octavo::quant {

const LoaderRow* loader_row(std::string_view scheme, OutputFormat format, std::string_view scale_name);

namespace {

constexpr std::uint64_t kBlock = 128;  // the block every engine's kernels are written for

constexpr std::uint64_t kMxGroup = 32;  // OCP Microscaling Formats 1.0: values that share an exponent

constexpr std::array<Scheme, 6> kSchemes{{
    {"dynamic", Granularity::kChannel, 1, 1, Activation::kDynamicToken},
    {"block", Granularity::kBlock, kBlock, kBlock, Activation::kDynamicGroup},
    {"tensor", Granularity::kTensor, 1, 1, Activation::kDynamicToken},
    {"weight-only", Granularity::kChannel, 1, 1, Activation::kNone},
    {"mxfp8", Granularity::kGroup, 1, kMxGroup, Activation::kDynamicGroup},
    {"static", Granularity::kTensor, 1, 1, Activation::kStaticTensor},
}};

constexpr std::array<std::string_view, 4> kFormats = {"fp8", "compressed-tensors", "modelopt", "mxfp8"};

OutputFormat default_format(std::string_view scheme) {
  return scheme == "block" ? OutputFormat::kFp8 : OutputFormat::kCompressedTensors;
}

bool is_legal(std::string_view scheme, OutputFormat format) {
  const auto& pairs = legal_pairs();
  return std::any_of(pairs.begin(), pairs.end(),
                     [&](const LegalPair& pair) { return pair.scheme == scheme && pair.format == format; });
}

bool loads(const LoaderAnswer& answer) {
  // kAsOther: it runs the file, in another way; as `verify --for` judges. (Renamed scales, kAsOther of vLLM and SGLang,
  // are of a name that is not written.)
  return answer.takes == Takes::kLoads || answer.takes == Takes::kDequantizes || answer.takes == Takes::kAsOther;
}

// What to write a scheme as instead, for the end of a refusal; of what `loader` loads.
std::string formats_hint(std::string_view scheme, std::optional<Loader> loader = std::nullopt) {
  std::vector<std::string_view> formats;
  for (const LegalPair& pair : legal_pairs()) {
    if (pair.scheme != scheme) continue;
    // The name that the loader gives MXFP8's scales.
    const bool renamed = pair.format == OutputFormat::kMxfp8;
    const char* scale = !renamed ? "" : loader == Loader::kSglang ? "weight_scale_inv" : "weight_scale";
    const LoaderRow* row = loader ? loader_row(pair.scheme, pair.format, scale) : nullptr;
    if (!loader || (row != nullptr && loads((*row)[*loader]))) formats.push_back(format_name(pair.format));
  }
  if (formats.empty()) {
    return fmt::format("; it loads no format of {}: `octavo formats` shows what it does", scheme);
  }
  return fmt::format("; {} goes with --format {}, and `octavo formats` shows who loads what", scheme,
                     fmt::join(formats, " or "));
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

std::string_view format_name(OutputFormat format) { return kFormats[static_cast<std::size_t>(format)]; }

std::vector<std::string> format_names() { return {kFormats.begin(), kFormats.end()}; }

std::optional<OutputFormat> find_format(std::string_view name) {
  const auto it = std::find(kFormats.begin(), kFormats.end(), name);
  if (it == kFormats.end()) return std::nullopt;
  return static_cast<OutputFormat>(it - kFormats.begin());
}

fp8::ScaleDType QuantSpec::scale_dtype_for(bool f16_source, Granularity granularity) const {
  if (granularity == Granularity::kGroup) return fp8::ScaleDType::kE8M0;
  if (scale_dtype && *scale_dtype != fp8::ScaleDType::kE8M0) return *scale_dtype;
  // compressed-tensors stores scales in the model's dtype; BF16 could not hold what an F16 scale resolves.
  const bool f32 = format != OutputFormat::kCompressedTensors || f16_source;
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
    if (!found) {
      return usage_error("--format {}: unknown; one of {}{}", printable(format), fmt::join(kFormats, ", "),
                         did_you_mean(format, format_names(), 1));
    }
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
  static constexpr std::array kScaleDTypes = {"f32", "bf16", "e8m0"};
  out["scale-dtype"] = spec.scale_dtype ? kScaleDTypes[static_cast<std::size_t>(*spec.scale_dtype)] : "default";
  if (spec.scale_name) out["scale-name"] = scale_name_text(*spec.scale_name);
  out["pow2-scales"] = spec.pow2_scales;
  out["direct"] = spec.direct;
  if (spec.bf16_arithmetic) out["arith"] = "bf16";
  out["ignore"] = spec.ignore;
  out["only"] = spec.only;
  out["keep-first"] = spec.keep_first;
  out["keep-last"] = spec.keep_last;
  out["lm-head"] = spec.lm_head;
  return out;
}

Status check_spec(const QuantSpec& spec) {
  if (!is_legal(spec.scheme.name, spec.format)) {
    return usage_error("--scheme {} cannot be written as --format {}: no loader takes it{}", spec.scheme.name,
                       format_name(spec.format), formats_hint(spec.scheme.name));
  }
  if ((spec.format == OutputFormat::kMxfp8) != spec.scale_name.has_value()) {
    return spec.scale_name
               ? usage_error("--format {}: has one name for scales; only mxfp8 has one for each loader",
                             format_name(spec.format))
               : usage_error(
                     "--format mxfp8 needs --for vllm or --for sglang: no file serves both, as they look for "
                     "scales under different names (transformers reads what sglang reads)");
  }
  if (spec.scheme.granularity == Granularity::kGroup) {
    if (spec.scale_dtype && *spec.scale_dtype != fp8::ScaleDType::kE8M0) {
      return usage_error("--scale-dtype: the scales of mxfp8 are exponents, a byte each");
    }
  } else if (spec.scale_dtype == fp8::ScaleDType::kE8M0) {
    return usage_error("--scale-dtype e8m0: only the scales of mxfp8 are stored as exponents");
  }
  if (spec.dtype != fp8::Format::kE4M3 && spec.dtype != fp8::Format::kE5M2) {
    return usage_error("--dtype {}: only e4m3 and e5m2 are written", fp8::format_name(spec.dtype));
  }
  if (spec.dtype == fp8::Format::kE5M2 && spec.format != OutputFormat::kFp8) {
    return usage_error("--dtype e5m2 needs --format fp8: in {} an 8-bit float means E4M3", format_name(spec.format));
  }
  if (spec.bf16_arithmetic && (spec.format != OutputFormat::kCompressedTensors || spec.direct || spec.pow2_scales ||
                               spec.scale_dtype == fp8::ScaleDType::kF32)) {
    return usage_error(
        "--arith bf16 reproduces the bytes of llm-compressor: --format compressed-tensors alone, without --direct, "
        "--pow2-scales and --scale-dtype f32");
  }
  const bool blocks_of_128 = spec.scheme.block_n == kBlock && spec.scheme.block_k == kBlock;
  if (spec.format == OutputFormat::kModelOpt && spec.scheme.granularity == Granularity::kBlock && !blocks_of_128) {
    return usage_error(
        "--format modelopt has blocks of 128x128 only, not {}x{}: add --scheme block --block-size 128x128",
        spec.scheme.block_n, spec.scheme.block_k);
  }
  if (spec.scheme.block_n == 0 || spec.scheme.block_k == 0) return usage_error("--block: sizes must be at least 1");
  if (spec.edge == Edge::kChannel &&
      (spec.scheme.granularity != Granularity::kBlock || spec.format != OutputFormat::kCompressedTensors)) {
    return usage_error(
        "--edge channel needs --scheme block --format compressed-tensors: only there can two schemes "
        "stand in one config");
  }
  if (spec.lm_head && spec.format != OutputFormat::kCompressedTensors) {
    return usage_error(
        "--lm-head needs --format compressed-tensors: in the {} format the head would have the scheme of the other "
        "weights, or none that loaders take",
        format_name(spec.format));
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

const LoaderRow* loader_row(std::string_view scheme, OutputFormat format, std::string_view scale_name) {
  static constexpr std::array kDialects = {Dialect::kFp8, Dialect::kCompressedTensors, Dialect::kModelOpt,
                                           Dialect::kMxfp8};
  for (const SchemeKind kind : kSchemeKinds) {
    if (scheme_kind_name(kind) != scheme) continue;
    return find_loader_row(kind, kDialects[static_cast<std::size_t>(format)], scale_name);
  }
  return nullptr;
}

std::string_view scale_name_text(ScaleName name) {
  return name == ScaleName::kWeightScale ? "weight_scale" : "weight_scale_inv";
}

const std::vector<LegalPair>& legal_pairs() {
  static const std::vector<LegalPair> kPairs = [] {
    // The default of each scheme first.
    std::vector<LegalPair> pairs = {{"dynamic", OutputFormat::kCompressedTensors, ""},
                                    {"dynamic", OutputFormat::kModelOpt, ""},
                                    {"block", OutputFormat::kFp8, ""},
                                    {"block", OutputFormat::kCompressedTensors, ""},
                                    {"block", OutputFormat::kModelOpt, ""},
                                    {"tensor", OutputFormat::kCompressedTensors, ""},
                                    {"tensor", OutputFormat::kFp8, ""},
                                    {"weight-only", OutputFormat::kCompressedTensors, ""},
                                    {"mxfp8", OutputFormat::kCompressedTensors, ""},
                                    {"mxfp8", OutputFormat::kModelOpt, ""},
                                    {"mxfp8", OutputFormat::kMxfp8, ""},
                                    {"static", OutputFormat::kCompressedTensors, ""},
                                    {"static", OutputFormat::kFp8, ""},
                                    {"static", OutputFormat::kModelOpt, ""}};
    for (LegalPair& pair : pairs) {
      const auto loaders = [&](std::string_view scale) {
        const LoaderRow* row = loader_row(pair.scheme, pair.format, scale);
        return row == nullptr ? std::string() : loaders_of(*row);
      };
      pair.loaders =
          pair.format != OutputFormat::kMxfp8
              ? loaders("")
              : fmt::format("--for vllm: {}; --for sglang: {}", loaders("weight_scale"), loaders("weight_scale_inv"));
    }
    return pairs;
  }();
  return kPairs;
}

Status check_loader(const QuantSpec& spec, Loader loader) {
  const std::string_view scale = spec.scale_name ? scale_name_text(*spec.scale_name) : "";
  const LoaderRow* row = loader_row(spec.scheme.name, spec.format, scale);
  LoaderAnswer answer = row == nullptr ? LoaderAnswer{Takes::kNo, "no such pair"} : (*row)[loader];
  if (spec.dtype != fp8::Format::kE4M3 && answer.takes != Takes::kNo) {
    answer = loader_answer_for(spec.dtype, Dialect::kFp8, loader);
  }
  if (loads(answer)) return {};
  return usage_error("--for {}: {} {} does not load --scheme {} as --format {} ({}){}", loader_name(loader),
                     loader_title(loader), loader_version(loader), spec.scheme.name, format_name(spec.format),
                     describe(answer), formats_hint(spec.scheme.name, loader));
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
