// Messages to a prompt: the model's own chat template, then its tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/text/chat_template.h"
#include "octavo/text/tokenizer.h"

namespace octavo::engine {

struct ChatMessage {
  std::string role;     // "system", "user", "assistant"
  std::string content;  // UTF-8
};

class ChatPrompt {
 public:
  // Fails where the folder has no chat template.
  static Result<ChatPrompt> load(const std::filesystem::path& folder);
  // With a template of the caller's own: a file's path, or the template itself where it holds "{{" or "{%".
  static Result<ChatPrompt> load(const std::filesystem::path& folder, const std::string& chat_template);

  // The prompt for the answer to the last message (add_generation_prompt). `arguments`: an object of further template
  // variables (enable_thinking, tools, ...). The template writes BOS itself, so the tokenizer adds nothing.
  Result<std::vector<std::int32_t>> encode(const text::Tokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                           const Json& arguments) const;

  // The text before it is encoded. `messages`: as a template takes them, an array of objects.
  Result<std::string> render(Json messages, const Json& arguments) const;

 private:
  ChatPrompt(text::ChatTemplate chat_template, Json variables)
      : template_(std::move(chat_template)), variables_(std::move(variables)) {}
  text::ChatTemplate template_;
  Json variables_;  // bos_token and its like
};

// "enable_thinking=false" ... as one object; a usage error for what is not KEY=JSON.
Result<Json> parse_template_arguments(const std::vector<std::string>& arguments);

}  // namespace octavo::engine
