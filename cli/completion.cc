// octavo completion: a completion script made from the registered commands and options, so it cannot go stale.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"

namespace octavo::cli {
namespace {

// Long option names of a command, and what values an option is limited to are left to --help.
std::vector<std::string> long_options(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<const CLI::App*> commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<std::string> names(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* command : commands(app)) out.push_back(command->get_name());
  return out;
}

std::string bash(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* command : commands(app)) {
    cases += fmt::format("    {}) words=\"{}\" ;;\n", command->get_name(), fmt::join(long_options(*command), " "));
  }
  return fmt::format(
      "# octavo completion for bash: source <(octavo completion bash)\n"
      "_octavo() {{\n"
      "  local current=\"${{COMP_WORDS[COMP_CWORD]}}\" words=\"\"\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    words=\"{} --help --version\"\n"
      "  else\n"
      "    case \"${{COMP_WORDS[1]}}\" in\n"
      "{}"
      "    esac\n"
      "    case \"$current\" in -*) ;; *) compopt -o default; COMPREPLY=(); return ;; esac\n"
      "  fi\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "}}\n"
      "complete -F _octavo octavo\n",
      fmt::join(names(app), " "), cases);
}

std::string zsh(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* command : commands(app)) {
    cases +=
        fmt::format("    {}) compadd -- {}; _files ;;\n", command->get_name(), fmt::join(long_options(*command), " "));
  }
  return fmt::format(
      "#compdef octavo\n"
      "# octavo completion for zsh: octavo completion zsh > \"${{fpath[1]}}/_octavo\"\n"
      "_octavo() {{\n"
      "  if (( CURRENT == 2 )); then compadd -- {} --help --version; return; fi\n"
      "  case \"$words[2]\" in\n"
      "{}"
      "  esac\n"
      "}}\n"
      "if [ \"$funcstack[1]\" = \"_octavo\" ]; then _octavo; else compdef _octavo octavo; fi\n",
      fmt::join(names(app), " "), cases);
}

std::string fish(const CLI::App& app) {
  std::string out = "# octavo completion for fish: octavo completion fish | source\n";
  for (const CLI::App* command : commands(app)) {
    out += fmt::format("complete -c octavo -n __fish_use_subcommand -a {} -d '{}'\n", command->get_name(),
                       command->get_description());
    for (const std::string& name : long_options(*command)) {
      out += fmt::format("complete -c octavo -n '__fish_seen_subcommand_from {}' -l {}\n", command->get_name(),
                         name.substr(2));
    }
  }
  return out;
}

}  // namespace

void add_completion(CLI::App& app, Action& action) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = add_command(app, "completion", "Print a completion script for bash, zsh or fish",
                                  "source <(octavo completion bash)");
  command->add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([shell, &app, &action] {
    action = [shell, &app]() -> Outcome {
      fmt::print("{}", *shell == "bash" ? bash(app) : *shell == "zsh" ? zsh(app) : fish(app));
      return 0;
    };
  });
}

}  // namespace octavo::cli
