// Options that say what the FP8 output is: scheme, format, numbers. Shared by `quantize` and `convert`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/quant_options.h"
#include "octavo/quant/spec_options.h"

namespace octavo::cli {

using SchemeOptions = quant::SpecOptions;
// `by_default`: what a missing --scheme means, for the help. Names and values as `octavo quantize --help` shows them.
void add_scheme_options(CLI::App& command, SchemeOptions& options, const std::string& by_default);

}  // namespace octavo::cli
