// Chat templates: the Jinja of a model folder, rendered as transformers does (ImmutableSandboxedEnvironment with
// trim_blocks and lstrip_blocks, {% generation %}, break and continue, tojson, raise_exception, strftime_now).
#pragma once

#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/base/status.h"
#include "octavo/text/jinja/template.h"

namespace octavo::text {

struct RenderOptions {
  std::optional<std::tm> now;  // what strftime_now tells; the local time where absent
  jinja::Limits limits;        // of memory, work and depth: a template comes from strangers
};

// Immutable and cheap to copy; safe to render from several threads at once. Rendering needs up to about 1 MiB of stack.
class ChatTemplate {
 public:
  // `name` stands in messages: "NAME:LINE: what is wrong".
  static Result<ChatTemplate> parse(std::string_view source, std::string name);

  // From a template file, or from a model folder: chat_template.jinja with additional_chat_templates/*.jinja; else
  // "chat_template" of tokenizer_config.json (a string, or a list of {"name", "template"}); else chat_template.json.
  // `which` names one of several; without it render() takes "tool_use" where tools are given and there is one, else
  // "default", as transformers does.
  static Result<ChatTemplate> load(const std::filesystem::path& folder_or_file, std::string_view which = "");

  // `variables` is an object; every key is a variable, and the order of keys is kept. transformers always sets
  // `messages`, `tools`, `documents` (null where there are none) and `add_generation_prompt`, drops the keys of a
  // message whose value is null, and adds special_token_variables() below what the caller gives.
  Result<std::string> render(const Json& variables, const RenderOptions& options = {}) const;

 private:
  struct Named {
    std::string name;    // "default", "tool_use" ...
    std::string origin;  // for messages
    jinja::ProgramPtr program;
    std::string error;  // where it did not compile: told when it is chosen
  };
  Result<const Named*> choose(const Json& variables) const;

  std::vector<Named> templates_;
};

// The special tokens of a model folder as variables: {"bos_token": "<s>", "eos_token": ...}, from tokenizer_config.json
// and special_tokens_map.json; absent ones are left out. An empty object where the folder has neither file.
Result<Json> special_token_variables(const std::filesystem::path& folder);

}  // namespace octavo::text
