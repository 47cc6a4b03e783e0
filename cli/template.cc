// `octavo template PATH`: renders a chat template with the variables on standard input.
#include <fmt/format.h>

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <optional>

#include "cli/command.h"
#include "cli/model_source.h"
#include "octavo/base/text.h"
#include "octavo/text/chat_template.h"

namespace octavo::cli {
namespace {

struct TemplateCommand {
  std::string path;
  std::string name;
  std::string now;
  bool json = false;

  Outcome run() const;
};

// "2026-07-26" or "2026-07-26T12:34:56".
Result<std::tm> parse_time(const std::string& text) {
  std::tm time{};
  const bool with_clock = text.find('T') != std::string::npos;
  const char* end = strptime(text.c_str(), with_clock ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d", &time);
  if (end == nullptr || *end != 0) {
    return usage_error("--now {}: not a time like 2026-07-26 or 2026-07-26T12:34:56", printable(text));
  }
  std::tm normal = time;
  timegm(&normal);  // fills in the day of the week and of the year
  return normal;
}

Outcome TemplateCommand::run() const {
  text::RenderOptions options;
  if (!now.empty()) {
    OCTAVO_ASSIGN(options.now, parse_time(now));
  }
  OCTAVO_ASSIGN(const std::filesystem::path source, find_model(path, "template", false, Wanted::kTokenizer));
  OCTAVO_ASSIGN(const text::ChatTemplate chat, text::ChatTemplate::load(source, name));
  Json variables = Json::object();
  std::error_code ignored;
  if (std::filesystem::is_directory(source, ignored)) {
    OCTAVO_ASSIGN(variables, text::special_token_variables(source));
  }
  const std::string input{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  JsonOptions json_options;
  json_options.max_depth = 128;
  OCTAVO_ASSIGN(const Json given, parse_json(input, "standard input", json_options));
  if (!given.is_object()) {
    return failure("standard input: must be one JSON object of variables, not {}", json_type_name(given));
  }
  for (const auto& [key, value] : given.items()) variables[key] = value;
  OCTAVO_ASSIGN(const std::string rendered, chat.render(variables, options));
  const std::string out = json ? Json{{"text", rendered}}.dump() + "\n" : rendered;
  if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size() || std::fflush(stdout) != 0) {
    return failure("standard output: cannot be written");
  }
  return 0;
}

}  // namespace

void add_template(CLI::App& app, Action& action) {
  CLI::App* command = add_command(app, "template", "Render a chat template with the variables on standard input",
                                  "octavo template Qwen3-8B --json < request.json");
  const auto self = std::make_shared<TemplateCommand>();
  command->add_option("PATH", self->path, "model folder or name, or a .jinja file")
      ->required()
      ->option_text(" ")
      ->group("Input");
  command->add_option("--name", self->name, "one of several templates of the folder: default, tool_use, rag ...")
      ->option_text("NAME")
      ->group("Input");
  command->add_option("--now", self->now, "the time that strftime_now tells: 2026-07-26 or 2026-07-26T12:34:56")
      ->option_text("TIME")
      ->group("Input");
  command->add_flag("--json", self->json, "print {\"text\": ...} instead of the text itself")->group("Output");
  command->callback([self, &action] { action = [self] { return self->run(); }; });
}

}  // namespace octavo::cli
