// --ignore, --keep-first, --keep-last, --edge.
#include "cli/quant_options.h"

namespace octavo::cli {

void add_keep_options(CLI::App& command, KeepOptions& options, const std::string& group) {
  constexpr int kMostLayers = 1'000'000;  // beyond it, a mistake
  command
      .add_option("--ignore", options.ignore,
                  "leave these modules as they are: exact name, glob, or re:REGEX; repeatable")
      ->allow_extra_args(false)
      ->option_text("PATTERN")
      ->group(group);
  command.add_option("--keep-first", options.keep_first, "leave the first N layers as they are")
      ->check(CLI::Range(0, kMostLayers))
      ->option_text("N")
      ->group(group);
  command.add_option("--keep-last", options.keep_last, "leave the last N layers as they are")
      ->check(CLI::Range(0, kMostLayers))
      ->option_text("N")
      ->group(group);
}

void add_edge_option(CLI::App& command, std::string& edge, const std::string& where, const std::string& group) {
  command
      .add_option("--edge", edge,
                  "partial (default): blocks at the edges are smaller\n"
                  "channel: modules that do not divide get per-channel scales (" +
                      where + ")")
      ->check(CLI::IsMember({"partial", "channel"}))
      ->option_text("HOW")
      ->group(group);
}

}  // namespace octavo::cli
