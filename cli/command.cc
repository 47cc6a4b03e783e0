// Common options and output of the subcommands.
#include "cli/command.h"

#include <fmt/format.h>

#include <cstdio>

#include "octavo/base/file.h"

namespace octavo::cli {

void add_run_options(CLI::App& command, CommonOptions& options) {
  command.add_flag("-q,--quiet", options.quiet, "no progress, no summary; errors and warnings still appear")
      ->group("Output");
  command.add_option("--threads", options.threads, "worker threads (default: one a hardware thread)")
      ->check(CLI::Range(1, 1024))
      ->option_text("N")
      ->group("Run");
}

void add_common_options(CLI::App& command, CommonOptions& options) {
  add_run_options(command, options);
  command.add_flag("--json", options.json, "print the result as one JSON object instead of text")->group("Output");
  command.add_option("--json-file", options.json_file, "also write that JSON object to FILE")
      ->option_text("FILE")
      ->group("Output");
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& purpose, const std::string& example) {
  CLI::App* command = app.add_subcommand(name, purpose);
  command->footer("Example:\n  " + example);
  return command;
}

Status print_result(const CommonOptions& options, const std::string& human, const Json& summary) {
  // Paths need not be UTF-8; what is not becomes U+FFFD.
  const std::string json = summary.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
  if (!options.json_file.empty()) OCTAVO_TRY(write_text_file(options.json_file, json));
  const std::string text = options.json ? json : options.quiet ? std::string() : human;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return failure("standard output: write failed");
  }
  return {};
}

Status print_streamed(const CommonOptions& options, const WriteText& human, const WriteText& json) {
  if (!options.json_file.empty()) {
    OCTAVO_ASSIGN(File file, File::create(options.json_file));
    std::uint64_t at = 0;
    OCTAVO_TRY(json([&](std::string_view part) {
      at += part.size();
      return file.write_at(at - part.size(), as_bytes(part));
    }));
    OCTAVO_TRY(file.sync());
    OCTAVO_TRY(file.close());
  }
  const TextSink print = [](std::string_view part) -> Status {
    if (std::fwrite(part.data(), 1, part.size(), stdout) == part.size()) return {};
    return failure("standard output: write failed");
  };
  if (options.json) {
    OCTAVO_TRY(json(print));
  } else if (!options.quiet) {
    OCTAVO_TRY(human(print));
  }
  if (std::fflush(stdout) != 0) return failure("standard output: write failed");
  return {};
}

}  // namespace octavo::cli
