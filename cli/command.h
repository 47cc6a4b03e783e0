// What every subcommand shares: its registration, common options, how results are printed.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "octavo/base/json.h"
#include "octavo/base/memory.h"
#include "octavo/base/status.h"
#include "octavo/base/text_sink.h"

namespace octavo::cli {

// The process's exit code (0 done, 1 failure) or an Error, which main() prints as "octavo COMMAND: sentence".
using Outcome = Result<int>;
// Set by the subcommand that was chosen; main() runs it once parsing has succeeded.
using Action = std::function<Outcome()>;

// Options of every command that works for long.
struct CommonOptions {
  bool quiet = false;
  int threads = 0;  // 0 = one a hardware thread
  bool json = false;
  std::string json_file;
};
void add_common_options(CLI::App& command, CommonOptions& options);
// --quiet and --threads alone, for commands without a result.
void add_run_options(CLI::App& command, CommonOptions& options);

// Starts a subcommand: name, one line of purpose, one example.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& purpose, const std::string& example);

// Prints `human` to standard output, or `summary` when --json asks for it; writes --json-file. --quiet silences
// `human` but never --json.
Status print_result(const CommonOptions& options, const std::string& human, const Json& summary);

// The same for texts that are too long to be held: made while they are printed.
using WriteText = std::function<Status(const TextSink&)>;
Status print_streamed(const CommonOptions& options, const WriteText& human, const WriteText& json);

// One file a subcommand.
void add_import(CLI::App& app, Action& action);
void add_quantize(CLI::App& app, Action& action);
void add_convert(CLI::App& app, Action& action);
void add_formats(CLI::App& app, Action& action);
void add_dequantize(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_merge(CLI::App& app, Action& action);
void add_verify(CLI::App& app, Action& action);
void add_generate(CLI::App& app, Action& action);
void add_chat(CLI::App& app, Action& action);
void add_score(CLI::App& app, Action& action);
void add_serve(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_detokenize(CLI::App& app, Action& action);
void add_template(CLI::App& app, Action& action);
void add_config(CLI::App& app, Action& action);
void add_completion(CLI::App& app, Action& action);

}  // namespace octavo::cli
