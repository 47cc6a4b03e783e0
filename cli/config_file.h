// Other programs' configuration files on Octavo's command lines: what is said about them, and which part is meant.
#pragma once

#include <string>
#include <string_view>

#include "octavo/dialect/config.h"

namespace octavo::cli {

// Notes, warnings and keys without meaning, on standard error, each line begun by "octavo COMMAND: ", or "octavo: ".
void print_remarks(std::string_view command, const dialect::Config& config, bool quiet);

// The worker of an RL configuration that `generate` and its like run: the named one, or the only one, or actor_infer.
Result<dialect::Meaning> choose_worker(const dialect::Config& config, const std::string& worker);

}  // namespace octavo::cli
