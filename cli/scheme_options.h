// Options that say what the FP8 output is: scheme, format, numbers. Shared by `quantize` and `convert`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/quant_options.h"
#include "octavo/quant/spec.h"

namespace octavo::cli {

struct SchemeOptions {
  std::string scheme, format, loader, dtype = "e4m3", arith = "f32", scale_dtype, block, edge = "partial",
                                      nonfinite = "error";
  bool pow2_scales = false, direct = false;
  KeepOptions keep;
};
// `by_default`: what a missing --scheme means, for the help. Names and values as `octavo quantize --help` shows them.
void add_scheme_options(CLI::App& command, SchemeOptions& options, const std::string& by_default);

// The spec of the options; `scheme` is taken where --scheme is missing. Checked by quant::check_spec().
Result<quant::QuantSpec> make_spec(const SchemeOptions& options, const quant::Scheme& scheme);

}  // namespace octavo::cli
