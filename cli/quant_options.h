// Options that say which modules stay as they are, and what blocks do at the edge: shared by `quantize` and by the
// commands that quantize on the way into memory.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "octavo/quant/spec_options.h"

namespace octavo::cli {

using quant::KeepOptions;
// --ignore, --keep-first, --keep-last.
void add_keep_options(CLI::App& command, KeepOptions& options, const std::string& group);

// --edge; `where` says with what "channel" goes.
void add_edge_option(CLI::App& command, std::string& edge, const std::string& where, const std::string& group);

}  // namespace octavo::cli
