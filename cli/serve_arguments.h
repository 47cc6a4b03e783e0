// Command lines of `octavo serve` before they are parsed: --config FILE, and flags of vLLM and SGLang.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"

namespace octavo::cli {

// `serve ... --config FILE`: the file's keys as flags, as `vllm serve --config` has them; what stands on the command
// line wins. Keys are long options of `command` with - or _, and "model". A file of ROLL or NeMo-RL becomes --from
// FILE. Other command lines come back as they are. Usage errors with line and column.
Result<std::vector<std::string>> expand_serve_config(const CLI::App& command, std::vector<std::string> arguments);

// What a flag of `vllm serve` or SGLang's launch_server is here: "; it is --max-num-seqs here". "" for an unknown one.
std::string foreign_flag_hint(std::string_view flag);

}  // namespace octavo::cli
