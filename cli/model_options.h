// Options of every command that runs a model: which numbers it computes with, how it is quantized on the way in, how
// much it may hold; and what such a command says of the model it has loaded.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "cli/command.h"
#include "cli/quant_options.h"
#include "octavo/engine/runner.h"

namespace octavo::cli {

struct ModelOptions {
  CommonOptions common;
  std::string model;
  std::string compute = "bf16", activations, quantization, edge, kv_cache_dtype = "auto", lm_head = "auto";
  std::string quantization_config, from, worker;
  std::string hf_overrides;  // of `serve` alone
  KeepOptions keep;
  std::uint64_t context = 0;
  std::string cpu_affinity = "off", numa = "local";
};
// MODEL and the options; not those of CommonOptions.
void add_model_options(CLI::App& command, ModelOptions& options);

// --cpu-affinity and --numa, for this thread and those it makes from now on: before anything large is allocated or a
// thread is made. "auto" takes `threads` (0: all) of `allowed`, the CPUs this process could run on when it began.
Status place_process(const ModelOptions& options, int threads, const std::vector<int>& allowed);

// The options as the engine's, with the cross-checks: usage errors. Places the process.
Result<engine::RunnerOptions> runner_options(const ModelOptions& options);

// The folder that MODEL names (cli/model_source.h), read up to its weights.
Result<engine::RunnerFolder> read_model_folder(const ModelOptions& options, std::string_view command);

// Loads with a progress bar, then says on standard error what was loaded and at which precision (not with --quiet) and
// what to beware of. `command` starts the lines: "octavo generate: ...".
Result<engine::Runner> load_runner(const ModelOptions& options, std::string_view command, engine::RunnerFolder folder,
                                   engine::RunnerOptions runner_options);

// The same as an object: {"precision", "seconds", "source_bytes", "resident_bytes", "resident": {dtype: bytes}, ...}.
Json load_json(const engine::Runner& runner);

}  // namespace octavo::cli
