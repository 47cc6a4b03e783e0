// The command `octavo`: registers the subcommands, parses, runs one, maps errors to exit codes 0, 1, 2.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <new>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/serve_arguments.h"
#include "octavo/base/text.h"
#include "octavo/base/version.h"

namespace octavo::cli {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitSignal = 128;  // and the signal's number, as shells say it

// CLI11's help without its doubled blank lines.
class Formatter final : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
    std::string text = CLI::Formatter::make_help(app, std::move(name), mode);
    for (std::size_t at = 0; (at = text.find("\n\n\n", at)) != std::string::npos;) text.erase(at, 1);
    return text;
  }
};

// Names of the long options of a command, for suggestions.
std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

// What CLI11 says of a wrong command line, with a suggestion where a name is near.
std::string describe(const CLI::ParseError& error, const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  const CLI::App& scope = chosen.empty() ? app : *chosen.front();
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
    const auto extras = scope.remaining(true);
    const auto all = extras.empty() ? app.remaining(true) : extras;
    const std::string first = all.empty() ? std::string() : all.front();
    // All of them, a line each. The values that follow them are left over, too.
    std::string unknown;
    for (const std::string& extra : all) {
      const bool option =
          extra.size() > 1 && extra[0] == '-' && std::isdigit(static_cast<unsigned char>(extra[1])) == 0;
      if (!option) continue;
      const std::string name = extra.substr(0, extra.find('='));
      std::string hint = scope.get_name() == "serve" ? foreign_flag_hint(name) : "";
      if (hint.empty()) hint = did_you_mean(name, option_names(scope));
      unknown += fmt::format("{}unknown option {}{}", unknown.empty() ? "" : "\n", printable(name), hint);
    }
    if (!unknown.empty()) return unknown;
    if (chosen.empty()) {
      return fmt::format("unknown command {}{}", printable(first), did_you_mean(first, command_names(app)));
    }
    return fmt::format("unexpected argument {}", printable(first));
  }
  const std::string what = error.what();
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ArgumentMismatch)) {
    // "--output: 1 required TEXT missing", "--output: At Most 1 required but received 2"
    const std::string name = what.substr(0, what.find(':'));
    if (what.ends_with("missing")) return fmt::format("{} needs a value", name);
    if (what.find("At Most 1") != what.npos) return fmt::format("{} is given more than once", name);
  }
  constexpr std::size_t kLongest = 500;
  return printable(what, kLongest);
}

// One sentence; what follows its first line (the table of legal pairs) is explanation.
void print_error(std::string_view command, std::string_view message) {
  while (message.ends_with('\n')) message.remove_suffix(1);
  fmt::print(stderr, "octavo{}{}: {}\n", command.empty() ? "" : " ", command, message);
}

int run(int argc, char** argv) {
  CLI::App app{"Octavo takes large language models from BF16 to FP8 and runs them there."};
  app.name("octavo");
  app.set_version_flag("--version", fmt::format("octavo {}", version()));
  app.require_subcommand(0, 1);
  app.formatter(std::make_shared<Formatter>());
  app.get_formatter()->column_width(34);
  app.footer(
      "Example:\n  octavo quantize Qwen3-8B -o Qwen3-8B-FP8\n"
      "`octavo COMMAND --help` explains a command. Exit codes: 0 done, 1 failure, 2 wrong usage,\n"
      "130 and 143 stopped by Ctrl-C or SIGTERM.\n"
      "OCTAVO_ISA=scalar|avx2|avx512|avx512_bf16|amx forces the kernels of an instruction set.");
  Action action;
  add_import(app, action);
  add_quantize(app, action);
  add_convert(app, action);
  add_formats(app, action);
  add_verify(app, action);
  add_inspect(app, action);
  add_dequantize(app, action);
  add_merge(app, action);
  add_tokenize(app, action);
  add_detokenize(app, action);
  add_template(app, action);
  add_generate(app, action);
  add_chat(app, action);
  add_score(app, action);
  add_serve(app, action);
  add_bench(app, action);
  add_doctor(app, action);
  add_config(app, action);
  add_completion(app, action);

  Result<std::vector<std::string>> arguments =
      expand_serve_config(*app.get_subcommand("serve"), std::vector<std::string>(argv + 1, argv + argc));
  if (!arguments.ok()) {
    print_error("serve", arguments.error().message);
    return arguments.error().kind == ErrorKind::kUsage ? kExitUsage : kExitFailure;
  }
  try {
    std::reverse(arguments->begin(), arguments->end());  // as CLI11 takes them
    app.parse(std::move(*arguments));
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    const auto chosen = app.get_subcommands();
    const std::string command = chosen.empty() ? "" : chosen.front()->get_name();
    print_error(command, describe(error, app));
    fmt::print(stderr, "Run `octavo{}{} --help`.\n", command.empty() ? "" : " ", command);
    return kExitUsage;
  }
  const auto chosen = app.get_subcommands();
  if (chosen.empty()) {
    fmt::print("{}", app.help());
    return kExitUsage;
  }
  const std::string command = chosen.front()->get_name();
  const Outcome outcome = action();
  if (outcome.ok()) return *outcome;
  print_error(command, outcome.error().message);
  switch (outcome.error().kind) {
    case ErrorKind::kUsage: return kExitUsage;
    case ErrorKind::kInterrupted: return kExitSignal + interrupt_signal().load();
    default: return kExitFailure;
  }
}

}  // namespace
}  // namespace octavo::cli

int main(int argc, char** argv) {
  // A model of a thousand shards has as many files open, twice; shells allow fewer than the system does.
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  try {
    return octavo::cli::run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("octavo: out of memory\n", stderr);
  } catch (const std::exception& error) {
    // Nothing below throws on purpose; whatever does is still one line and exit code 1.
    std::fprintf(stderr, "octavo: %s\n", error.what());
  }
  return octavo::cli::kExitFailure;
}
