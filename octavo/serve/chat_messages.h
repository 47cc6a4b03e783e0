// Messages and tools of a chat request, as the model's template takes them.
#pragma once

#include "octavo/serve/json_reader.h"
#include "octavo/serve/serve_context.h"

namespace octavo::serve {

struct ChatInput {
  Json messages;   // an array of objects
  Json arguments;  // template variables: tools, documents, chat_template_kwargs, add_generation_prompt
};

// Reads messages, tools, tool_choice and the template's variables. Content in parts becomes one text, its parts a line
// each, as vLLM does for templates that want text; what is not text is refused. A tool call's arguments are an object
// for the template, not JSON in a string.
ChatInput read_chat_input(FieldReader& f);

// The prompt's text.
Result<std::string> render_chat(const ServeContext& context, ChatInput input);

}  // namespace octavo::serve
