// Where chat templates stand in a model folder, and which of several is meant.
#include "octavo/text/chat_template.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "octavo/base/file.h"
#include "octavo/base/text.h"

namespace octavo::text {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLongestFile = std::uint64_t{64} << 20;  // tokenizer_config.json lists every added token

struct Source {
  std::string name;
  std::string origin;
  std::string text;
};

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

Result<Json> read_object(const fs::path& path) {
  OCTAVO_ASSIGN(const std::string text, read_text_file(path, kLongestFile));
  JsonOptions options;
  options.python_constants = true;
  OCTAVO_ASSIGN(Json json, parse_json(text, path.string(), options));
  if (!json.is_object()) return failure("{}: must hold an object, not {}", path.string(), json_type_name(json));
  return json;
}

Result<std::vector<Source>> read_jinja_files(const fs::path& folder) {
  std::vector<Source> sources;
  const fs::path main = folder / "chat_template.jinja";
  if (is_file(main)) {
    OCTAVO_ASSIGN(std::string text, read_text_file(main, kLongestFile));
    sources.push_back({"default", main.string(), std::move(text)});
  }
  std::error_code error;
  std::vector<fs::path> more;
  for (const auto& entry : fs::directory_iterator(folder / "additional_chat_templates", error)) {
    if (entry.path().extension() == ".jinja") more.push_back(entry.path());
  }
  std::sort(more.begin(), more.end());
  for (const fs::path& path : more) {
    OCTAVO_ASSIGN(std::string text, read_text_file(path, kLongestFile));
    sources.push_back({path.stem().string(), path.string(), std::move(text)});
  }
  return sources;
}

// "chat_template" of a JSON file: a string, a list of {"name", "template"}, or an object from names to templates.
Result<std::vector<Source>> read_json_key(const fs::path& path) {
  std::vector<Source> sources;
  if (!is_file(path)) return sources;
  OCTAVO_ASSIGN(const Json json, read_object(path));
  const auto at = json.find("chat_template");
  if (at == json.end() || at->is_null()) return sources;
  const auto origin = [&](std::string_view where) { return fmt::format("{}#/chat_template{}", path.string(), where); };
  if (at->is_string()) {
    sources.push_back({"default", origin(""), at->get<std::string>()});
    return sources;
  }
  if (at->is_object()) {
    for (const auto& [name, text] : at->items()) {
      const std::string where = origin("/" + printable(name));
      if (!text.is_string()) return failure("{}: must be a string, not {}", where, json_type_name(text));
      sources.push_back({name, where, text.get<std::string>()});
    }
    return sources;
  }
  if (!at->is_array()) return failure("{}: must be a string or a list, not {}", origin(""), json_type_name(*at));
  for (std::size_t i = 0; i < at->size(); ++i) {
    const Json& entry = (*at)[i];
    const std::string where = origin(fmt::format("/{}", i));
    const bool whole = entry.is_object() && entry.contains("name") && entry["name"].is_string() &&
                       entry.contains("template") && entry["template"].is_string();
    if (!whole) return failure("{}: must be an object with the strings \"name\" and \"template\"", where);
    sources.push_back({entry["name"].get<std::string>(), where, entry["template"].get<std::string>()});
  }
  return sources;
}

Result<std::vector<Source>> read_folder(const fs::path& folder) {
  OCTAVO_ASSIGN(std::vector<Source> sources, read_jinja_files(folder));
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    if (!sources.empty()) break;
    OCTAVO_ASSIGN(sources, read_json_key(folder / name));
  }
  if (sources.empty()) {
    return failure(
        "{}: no chat template: neither chat_template.jinja nor \"chat_template\" in tokenizer_config.json or "
        "chat_template.json; give a .jinja file",
        folder.string());
  }
  return sources;
}

std::vector<std::string> names_of(const std::vector<Source>& sources) {
  std::vector<std::string> names;
  for (const Source& source : sources) names.push_back(source.name);
  return names;
}

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, std::string name) {
  OCTAVO_ASSIGN(jinja::ProgramPtr program, jinja::compile(source, name));
  ChatTemplate made;
  made.templates_.push_back({"default", std::move(name), std::move(program), ""});
  return made;
}

Result<ChatTemplate> ChatTemplate::load(const fs::path& path, std::string_view which) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    OCTAVO_ASSIGN(const std::string text, read_text_file(path, kLongestFile));
    return parse(text, path.string());
  }
  OCTAVO_ASSIGN(std::vector<Source> sources, read_folder(path));
  if (!which.empty()) {
    const auto at = std::find_if(sources.begin(), sources.end(), [&](const Source& s) { return s.name == which; });
    if (at == sources.end()) {
      return failure("{}: no chat template named {}; there are: {}", path.string(), printable(which),
                     printable(fmt::format("{}", fmt::join(names_of(sources), ", ")), 500));
    }
    OCTAVO_ASSIGN(ChatTemplate made, parse(at->text, at->origin));
    return made;
  }
  if (sources.size() == 1 && sources.front().name == "default") {
    return parse(sources.front().text, sources.front().origin);
  }
  ChatTemplate made;
  for (Source& source : sources) {
    Result<jinja::ProgramPtr> program = jinja::compile(source.text, source.origin);
    Named named{std::move(source.name), std::move(source.origin), nullptr, ""};
    if (program.ok()) {
      named.program = std::move(program).value();
    } else {
      named.error = program.error().message;
    }
    made.templates_.push_back(std::move(named));
  }
  return made;
}

Result<const ChatTemplate::Named*> ChatTemplate::choose(const Json& variables) const {
  const auto named = [&](std::string_view name) -> const Named* {
    const auto at = std::find_if(templates_.begin(), templates_.end(), [&](const Named& t) { return t.name == name; });
    return at == templates_.end() ? nullptr : &*at;
  };
  const bool tools = variables.is_object() && variables.contains("tools") && !variables["tools"].is_null();
  const Named* chosen = tools ? named("tool_use") : nullptr;
  if (chosen == nullptr) chosen = named("default");
  if (chosen == nullptr) {
    std::vector<std::string> names;
    for (const Named& t : templates_) names.push_back(t.name);
    return failure("{}: several chat templates and none named \"default\"; name one of: {}", templates_.front().origin,
                   printable(fmt::format("{}", fmt::join(names, ", ")), 500));
  }
  if (chosen->program == nullptr) return failure("{}", chosen->error);
  return chosen;
}

Result<std::string> ChatTemplate::render(const Json& variables, const RenderOptions& options) const {
  OCTAVO_ASSIGN(const Named* chosen, choose(variables));
  return jinja::render(*chosen->program, chosen->origin, variables, options.limits, options.now);
}

Result<Json> special_token_variables(const fs::path& folder) {
  // transformers' SpecialTokensMixin.SPECIAL_TOKENS_ATTRIBUTES.
  static constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token"};
  Json found = Json::object();
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const fs::path path = folder / file;
    if (!is_file(path)) continue;
    OCTAVO_ASSIGN(const Json json, read_object(path));
    for (const char* name : kNames) {
      const auto at = json.find(name);
      if (found.contains(name) || at == json.end() || at->is_null()) continue;
      const bool object = at->is_object() && at->contains("content") && (*at)["content"].is_string();
      if (!at->is_string() && !object) {
        return failure("{}#/{}: must be a string or an object with \"content\", not {}", path.string(), name,
                       json_type_name(*at));
      }
      found[name] = object ? (*at)["content"] : *at;
    }
  }
  return found;
}

}  // namespace octavo::text
