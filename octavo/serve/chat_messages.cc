// OpenAI's messages to a template's.
#include "octavo/serve/chat_messages.h"

#include "octavo/base/text.h"

namespace octavo::serve {
namespace {

const std::string* text_of(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() || !at->is_string() ? nullptr : &at->get_ref<const std::string&>();
}

Result<std::string> content_text(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return usage_error("content must be text or a list of parts");
  std::string out;
  bool first = true;
  for (const Json& part : content) {
    const std::string* type = part.is_object() ? text_of(part, "type") : nullptr;
    const bool bare = part.is_string();
    if (!bare && (type == nullptr || *type != "text")) {
      return usage_error("a part of content is {}: only text is understood",
                         type == nullptr ? "no part" : printable(*type));
    }
    const std::string* text = bare ? &part.get_ref<const std::string&>() : text_of(part, "text");
    if (text == nullptr) return usage_error("a part of content has no text");
    if (!std::exchange(first, false)) out += '\n';
    out += *text;
  }
  return out;
}

Result<Json> template_message(const Json& message) {
  if (!message.is_object()) return usage_error("must be an object");
  const std::string* role = text_of(message, "role");
  if (role == nullptr) return usage_error("has no role");
  Json out = message;
  const auto content = message.find("content");
  if (content != message.end() && !content->is_null()) {
    OCTAVO_ASSIGN(out["content"], content_text(*content));
  } else if (*role != "assistant") {
    return usage_error("has no content");
  }
  const auto calls = out.find("tool_calls");
  if (calls == out.end() || calls->is_null()) return out;
  if (!calls->is_array()) return usage_error("tool_calls must be a list");
  for (Json& call : *calls) {
    const auto function = call.is_object() ? call.find("function") : call.end();
    if (function == call.end() || !function->is_object()) return usage_error("a tool call has no function");
    const std::string* arguments = text_of(*function, "arguments");
    if (arguments == nullptr) continue;
    if (arguments->empty()) {
      (*function)["arguments"] = Json::object();
      continue;
    }
    OCTAVO_ASSIGN((*function)["arguments"], parse_json(*arguments, "a tool call's arguments"));
  }
  return out;
}

}  // namespace

ChatInput read_chat_input(FieldReader& f) {
  ChatInput out{.messages = Json::array(), .arguments = Json::object()};
  const Json* messages = f.get("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    f.fail("messages", messages == nullptr ? "is missing" : "must be a list of messages, and not empty");
  } else {
    for (std::size_t i = 0; i < messages->size(); ++i) {
      Result<Json> message = template_message((*messages)[i]);
      if (!message.ok()) {
        f.fail(fmt::format("messages[{}]", i), message.error().message);
        break;
      }
      out.messages.push_back(std::move(*message));
    }
  }

  const Json* kwargs = f.get("chat_template_kwargs");
  if (kwargs != nullptr && !kwargs->is_object()) f.fail("chat_template_kwargs", "must be an object");
  if (kwargs != nullptr && kwargs->is_object()) out.arguments = *kwargs;
  if (const Json* effort = f.get("reasoning_effort"); effort != nullptr) out.arguments["reasoning_effort"] = *effort;
  if (const Json* documents = f.get("documents"); documents != nullptr) out.arguments["documents"] = *documents;

  // Tools are told to the model; calls in its answer are text, as no parser of any model's own form is here.
  const Json* tools = f.get("tools");
  const Json* choice = f.get("tool_choice");
  const bool none = choice != nullptr && *choice == "none";
  if (choice != nullptr && !none && *choice != "auto") {
    f.fail("tool_choice", "only \"auto\" and \"none\" are offered: no output is forced into a form");
  }
  if (tools != nullptr && !tools->is_array()) f.fail("tools", "must be a list");
  if (tools != nullptr && tools->is_array() && !tools->empty() && !none) out.arguments["tools"] = *tools;
  f.refuse("functions", "is OpenAI's old form; use tools");
  f.refuse("function_call", "is OpenAI's old form; use tool_choice");
  f.ignore({"parallel_tool_calls"});

  bool generation_prompt = true, go_on = false;
  f.read("add_generation_prompt", generation_prompt);
  f.read("continue_final_message", go_on);
  if (go_on) f.fail("continue_final_message", "is not offered; use /v1/completions with the rendered text");
  out.arguments["add_generation_prompt"] = generation_prompt;
  f.refuse("chat_template", "a request cannot bring its own; start the server with --chat-template");
  return out;
}

Result<std::string> render_chat(const ServeContext& context, ChatInput input) {
  if (!context.model.chat) return failure("{}", context.model.no_chat);
  const engine::ChatPrompt& chat = *context.model.chat;
  if (!input.arguments.contains("tools")) return chat.render(std::move(input.messages), input.arguments);
  Json without = input.arguments;
  without.erase("tools");
  OCTAVO_ASSIGN(std::string text, chat.render(input.messages, input.arguments));
  OCTAVO_ASSIGN(const std::string text_without, chat.render(std::move(input.messages), without));
  if (text == text_without) {
    return usage_error(
        "tools: the model's chat template does not show them to the model; leave them out, or serve "
        "with a --chat-template that does");
  }
  return text;
}

}  // namespace octavo::serve
