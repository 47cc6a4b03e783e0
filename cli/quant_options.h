// Options that say which modules stay as they are, and what blocks do at the edge: shared by `quantize` and by the
// commands that quantize on the way into memory.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "octavo/quant/spec.h"

namespace octavo::cli {

struct KeepOptions {
  std::vector<std::string> ignore;
  std::uint64_t keep_first = 0, keep_last = 0;
};
// --ignore, --keep-first, --keep-last.
void add_keep_options(CLI::App& command, KeepOptions& options, const std::string& group);
void set_kept(const KeepOptions& options, quant::QuantSpec& spec);

// --edge; `where` says with what "channel" goes.
void add_edge_option(CLI::App& command, std::string& edge, const std::string& where, const std::string& group);
quant::Edge edge_of(const std::string& edge);

}  // namespace octavo::cli
