// octavo completion: a completion script made from the registered commands and options, so it cannot go stale.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "cli/command.h"
#include "octavo/base/text.h"
#include "octavo/model/synthetic.h"
#include "octavo/quant/online.h"
#include "octavo/quant/spec.h"
#include "octavo/verify/verify.h"

namespace octavo::cli {
namespace {

// Long option names of a command.
std::vector<std::string> long_options(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// What an option's value is limited to; empty when it is free. CLI11 shows its own checks as "TEXT:{bf16,f32}"; the
// other closed lists are checked by the rooms that own them.
std::vector<std::string> values(const CLI::Option& option) {
  const std::string name = option.get_lnames().empty() ? "" : option.get_lnames().front();
  if (name == "scheme") return quant::scheme_names();
  if (name == "quantization") return quant::online_names();
  if (name == "synthetic") return model::synthetic_names();
  std::vector<std::string> out;
  if (name == "format") {
    for (const auto format : {quant::OutputFormat::kFp8, quant::OutputFormat::kCompressedTensors}) {
      out.emplace_back(quant::format_name(format));
    }
    return out;
  }
  if (name == "for") {
    for (const Loader loader : kLoaders) out.emplace_back(loader_name(loader));
    return out;
  }
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{'), close = type.find('}');
  if (open == type.npos || close == type.npos || close < open) return out;
  for (const std::string_view value : split(std::string_view(type).substr(open + 1, close - open - 1), ',')) {
    out.emplace_back(value);
  }
  return out;
}

// "--name" of every option with a closed list, and the list.
std::map<std::string, std::vector<std::string>> closed_lists(const CLI::App& command) {
  std::map<std::string, std::vector<std::string>> out;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (auto list = values(*option); !list.empty()) out.emplace("--" + name, std::move(list));
    }
  }
  return out;
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
  std::string cases, lists;
  for (const CLI::App* command : commands(app)) {
    for (const auto& [option, list] : closed_lists(*command)) {
      lists += fmt::format("    \"{} {}\") values=\"{}\" ;;\n", command->get_name(), option, fmt::join(list, " "));
    }
    cases += fmt::format("    {}) words=\"{}\" ;;\n", command->get_name(), fmt::join(long_options(*command), " "));
  }
  return fmt::format(
      "# octavo completion for bash: source <(octavo completion bash)\n"
      "_octavo() {{\n"
      "  local current=\"${{COMP_WORDS[COMP_CWORD]}}\" previous=\"\" words=\"\" values=\"\"\n"
      "  if [ \"$COMP_CWORD\" -gt 2 ]; then previous=\"${{COMP_WORDS[COMP_CWORD-1]}}\"; fi\n"
      "  if [ \"$current\" = = ]; then current=\"\"; fi\n"  // bash makes three words of --option=value
      "  if [ \"$previous\" = = ]; then previous=\"${{COMP_WORDS[COMP_CWORD-2]}}\"; fi\n"
      "  case \"${{COMP_WORDS[1]}} $previous\" in\n"
      "{}"
      "  esac\n"
      "  if [ -n \"$values\" ]; then COMPREPLY=($(compgen -W \"$values\" -- \"$current\")); return; fi\n"
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
      lists, fmt::join(names(app), " "), cases);
}

std::string zsh(const CLI::App& app) {
  std::string cases, lists;
  for (const CLI::App* command : commands(app)) {
    for (const auto& [option, list] : closed_lists(*command)) {
      lists +=
          fmt::format("    \"{} {}\") compadd -- {}; return ;;\n", command->get_name(), option, fmt::join(list, " "));
    }
    cases +=
        fmt::format("    {}) compadd -- {}; _files ;;\n", command->get_name(), fmt::join(long_options(*command), " "));
  }
  return fmt::format(
      "#compdef octavo\n"
      "# octavo completion for zsh: octavo completion zsh > \"${{fpath[1]}}/_octavo\"\n"
      "_octavo() {{\n"
      "  if (( CURRENT == 2 )); then compadd -- {} --help --version; return; fi\n"
      "  case \"$words[2] $words[CURRENT-1]\" in\n"
      "{}"
      "  esac\n"
      "  case \"$words[2]\" in\n"
      "{}"
      "  esac\n"
      "}}\n"
      "if [ \"$funcstack[1]\" = \"_octavo\" ]; then _octavo; else compdef _octavo octavo; fi\n",
      fmt::join(names(app), " "), lists, cases);
}

std::string fish(const CLI::App& app) {
  std::string out = "# octavo completion for fish: octavo completion fish | source\n";
  for (const CLI::App* command : commands(app)) {
    out += fmt::format("complete -c octavo -n __fish_use_subcommand -a {} -d '{}'\n", command->get_name(),
                       command->get_description());
    const auto lists = closed_lists(*command);
    for (const std::string& name : long_options(*command)) {
      const auto list = lists.find(name);
      out += fmt::format("complete -c octavo -n '__fish_seen_subcommand_from {}' -l {}{}\n", command->get_name(),
                         name.substr(2),
                         list == lists.end() ? "" : fmt::format(" -x -a '{}'", fmt::join(list->second, " ")));
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
