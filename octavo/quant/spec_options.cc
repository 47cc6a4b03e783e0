// --scheme, --format, --for, --dtype, --block-size, --edge, --scale-dtype, --pow2-scales, --direct, --nonfinite as a
// spec.
#include "octavo/quant/spec_options.h"

#include <charconv>

#include "octavo/base/text.h"

namespace octavo::quant {
namespace {

// "128x128" or "128,128"; one number is both.
Status parse_block(const std::string& text, Scheme& scheme) {
  constexpr std::uint64_t kLargest = 1 << 16;
  std::vector<std::uint64_t> sizes;
  for (const std::string_view part : split(text, text.find(',') != text.npos ? ',' : 'x')) {
    std::uint64_t size = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), size);
    const bool whole = error == std::errc() && end == part.data() + part.size();
    if (!whole || size == 0 || size > kLargest || sizes.size() == 2) {
      return usage_error("--block-size {}: must be ROWSxCOLUMNS of 1 to {} each, such as 128x128", printable(text),
                         kLargest);
    }
    sizes.push_back(size);
  }
  if (scheme.granularity != Granularity::kBlock) {
    return usage_error("--block-size goes with --scheme block, not {}", scheme.name);
  }
  scheme.block_n = sizes.front();
  scheme.block_k = sizes.back();
  return {};
}

// TensorRT-LLM reads either name; transformers reads SGLang's.
std::optional<ScaleName> scale_name(const SpecOptions& o, OutputFormat format) {
  if (o.loader.empty() || format != OutputFormat::kMxfp8) return std::nullopt;
  const bool plain = o.loader == "vllm" || o.loader == "tensorrt-llm";
  return plain ? ScaleName::kWeightScale : ScaleName::kWeightScaleInv;
}

}  // namespace

void set_kept(const KeepOptions& options, QuantSpec& spec) {
  spec.ignore = options.ignore;
  spec.keep_first = options.keep_first;
  spec.keep_last = options.keep_last;
}

Edge edge_of(std::string_view edge) { return edge == "channel" ? Edge::kChannel : Edge::kPartial; }

Result<QuantSpec> make_spec(const SpecOptions& o, const Scheme& scheme) {
  OCTAVO_ASSIGN(QuantSpec spec,
                make_spec(o.scheme.empty() ? scheme.name : std::string_view(o.scheme), std::string_view(o.format)));
  if (o.scheme.empty()) spec.scheme = scheme;
  if (!o.block.empty()) OCTAVO_TRY(parse_block(o.block, spec.scheme));
  spec.dtype = o.dtype == "e5m2" ? fp8::Format::kE5M2 : fp8::Format::kE4M3;
  if (!o.scale_dtype.empty()) {
    spec.scale_dtype = o.scale_dtype == "bf16" ? fp8::ScaleDType::kBF16 : fp8::ScaleDType::kF32;
  }
  spec.scale_name = scale_name(o, spec.format);
  spec.pow2_scales = o.pow2_scales;
  spec.direct = o.direct;
  spec.bf16_arithmetic = o.arith == "bf16";
  spec.nonfinite = o.nonfinite == "zero" ? NonFinite::kZero : NonFinite::kError;
  spec.edge = edge_of(o.edge);
  set_kept(o.keep, spec);
  OCTAVO_TRY(check_spec(spec));
  if (const auto loader = find_loader(o.loader)) OCTAVO_TRY(check_loader(spec, *loader));
  return spec;
}

}  // namespace octavo::quant
