// --scheme, --format, --for, --dtype, --block-size, --edge, --scale-dtype, --pow2-scales, --direct, --nonfinite.
#include "cli/scheme_options.h"

namespace octavo::cli {
namespace {

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

}  // namespace octavo::cli
