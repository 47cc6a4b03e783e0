// --scheme, --format, --for, --dtype, --block-size, --edge, --scale-dtype, --pow2-scales, --direct, --nonfinite.
#include "cli/scheme_options.h"

#include <charconv>

#include "octavo/base/text.h"

namespace octavo::cli {
namespace {

// "128x128" or "128,128"; one number is both.
Status parse_block(const std::string& text, quant::Scheme& scheme) {
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
  if (scheme.granularity != quant::Granularity::kBlock) {
    return usage_error("--block-size goes with --scheme block, not {}", scheme.name);
  }
  scheme.block_n = sizes.front();
  scheme.block_k = sizes.back();
  return {};
}

// TensorRT-LLM reads either name; transformers reads SGLang's.
std::optional<quant::ScaleName> scale_name(const SchemeOptions& o, quant::OutputFormat format) {
  if (o.loader.empty() || format != quant::OutputFormat::kMxfp8) return std::nullopt;
  const bool plain = o.loader == "vllm" || o.loader == "tensorrt-llm";
  return plain ? quant::ScaleName::kWeightScale : quant::ScaleName::kWeightScaleInv;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

void add_scheme_options(CLI::App& command, SchemeOptions& o, const std::string& by_default) {
  command
      .add_option("--scheme", o.scheme,
                  "dynamic: per channel, activations per token\n"
                  "block: 128x128 blocks\n"
                  "tensor: one scale a tensor, shared by q/k/v and gate/up\n"
                  "weight-only: per channel, activations in BF16\n"
                  "mxfp8: groups of 32 that share an exponent\n"
                  "(default: " +
                      by_default + ")")
      ->option_text("NAME")
      ->group("Scheme");
  command
      .add_option("--format", o.format,
                  "dialect of config.json: " + joined(quant::format_names()) + " (default: by scheme)")
      ->option_text("NAME")
      ->group("Scheme");
  command
      .add_option(
          "--for", o.loader,
          "vllm, sglang, transformers or tensorrt-llm: refuse what it does not load; needed for --format mxfp8, "
          "whose scales each calls by its own name")
      ->check(CLI::IsMember({"vllm", "sglang", "transformers", "tensorrt-llm"}))
      ->option_text("LOADER")
      ->group("Scheme");
  command.add_option("--dtype", o.dtype, "e4m3 (default) or e5m2 (fp8 format only; no engine loads it)")
      ->check(CLI::IsMember({"e4m3", "e5m2"}))
      ->option_text("NAME")
      ->group("Scheme");
  command.add_option("--block-size", o.block, "block of --scheme block (default 128x128)")
      ->option_text("ROWSxCOLS")
      ->group("Scheme");
  add_edge_option(command, o.edge, "compressed-tensors", "Scheme");
  command.add_option("--scale-dtype", o.scale_dtype, "f32 or bf16 (default: bf16 in compressed-tensors, else f32)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->option_text("NAME")
      ->group("Scheme");
  command.add_flag("--pow2-scales", o.pow2_scales, "round scales up to powers of two")->group("Scheme");
  command.add_flag("--direct", o.direct, "quantize FP32 values as they are, not rounded to BF16 first")
      ->group("Numbers");
  command.add_option("--nonfinite", o.nonfinite, "NaN or infinity in a weight: error (default) or zero")
      ->check(CLI::IsMember({"error", "zero"}))
      ->option_text("HOW")
      ->group("Numbers");
  command
      .add_option("--arith", o.arith,
                  "f32 (default), or bf16: the bytes that llm-compressor writes on a CPU, less exact; for comparisons")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->option_text("NAME")
      ->group("Numbers");
  add_keep_options(command, o.keep, "Selection");
}

Result<quant::QuantSpec> make_spec(const SchemeOptions& o, const quant::Scheme& scheme) {
  OCTAVO_ASSIGN(quant::QuantSpec spec, quant::make_spec(o.scheme.empty() ? scheme.name : o.scheme, o.format));
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
  spec.nonfinite = o.nonfinite == "zero" ? quant::NonFinite::kZero : quant::NonFinite::kError;
  spec.edge = edge_of(o.edge);
  set_kept(o.keep, spec);
  OCTAVO_TRY(quant::check_spec(spec));
  if (const auto loader = find_loader(o.loader)) OCTAVO_TRY(quant::check_loader(spec, *loader));
  return spec;
}

}  // namespace octavo::cli
