// Rendering messages for a model.
#include "octavo/engine/chat_prompt.h"

#include "octavo/base/text.h"

namespace octavo::engine {

Result<ChatPrompt> ChatPrompt::load(const std::filesystem::path& folder) {
  OCTAVO_ASSIGN(text::ChatTemplate chat_template, text::ChatTemplate::load(folder));
  OCTAVO_ASSIGN(Json variables, text::special_token_variables(folder));
  return ChatPrompt(std::move(chat_template), std::move(variables));
}

Result<ChatPrompt> ChatPrompt::load(const std::filesystem::path& folder, const std::string& chat_template) {
  const bool is_text = chat_template.find("{{") != chat_template.npos || chat_template.find("{%") != chat_template.npos;
  OCTAVO_ASSIGN(text::ChatTemplate parsed, is_text ? text::ChatTemplate::parse(chat_template, "chat template")
                                                   : text::ChatTemplate::load(chat_template));
  OCTAVO_ASSIGN(Json variables, text::special_token_variables(folder));
  return ChatPrompt(std::move(parsed), std::move(variables));
}

Result<std::string> ChatPrompt::render(Json messages, const Json& arguments) const {
  Json variables = variables_;
  variables["messages"] = std::move(messages);
  // What transformers always sets.
  variables["tools"] = nullptr;
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] = true;
  for (const auto& [key, value] : arguments.items()) variables[key] = value;
  return template_.render(variables);
}

Result<std::vector<std::int32_t>> ChatPrompt::encode(const text::Tokenizer& tokenizer,
                                                     const std::vector<ChatMessage>& messages,
                                                     const Json& arguments) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages) list.push_back({{"role", message.role}, {"content", message.content}});
  OCTAVO_ASSIGN(const std::string text, render(std::move(list), arguments));
  return tokenizer.encode(text, {.add_special = false});
}

Result<Json> parse_template_arguments(const std::vector<std::string>& arguments) {
  Json out = Json::object();
  for (const std::string& argument : arguments) {
    const std::size_t equals = argument.find('=');
    if (equals == argument.npos || equals == 0) {
      return usage_error("--template-arg {}: must be KEY=JSON, such as enable_thinking=false", printable(argument));
    }
    const std::string key = argument.substr(0, equals);
    const Result<Json> value = parse_json(argument.substr(equals + 1), "--template-arg " + printable(key));
    if (!value.ok()) {
      return usage_error("{}; the value must be JSON: true, 1, \"text\" in quotes", value.error().message);
    }
    out[key] = *value;
  }
  return out;
}

}  // namespace octavo::engine
