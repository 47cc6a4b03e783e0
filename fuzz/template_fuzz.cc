// Chat templates: any source compiles or is refused, and renders within its limits, with variables of every type.
// Whatever comes out is UTF-8, and messages are one line.
#include "fuzz/property.h"
#include "octavo/text/chat_template.h"

namespace octavo::fuzz {
namespace {

const Json& variables() {
  static const Json kVariables = Json::parse(R"({
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "héllo <b>"},
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true,
    "d": {"a": 1, "b": [1, 2.5, null, true]}, "l": [3, 1, 2], "s": "Hello wörld", "n": null, "f": 2.5, "i": 7,
    "big": 18446744073709551615})");
  return kVariables;
}

}  // namespace
}  // namespace octavo::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  const auto compiled = text::ChatTemplate::parse(fuzz::as_text(data, size), "t");
  if (!compiled.ok()) {
    fuzz::require_readable(compiled.error().message);
    return 0;
  }
  text::RenderOptions options;
  options.now = std::tm{};
  options.limits.bytes = std::size_t{1} << 20;
  options.limits.work = std::uint64_t{1} << 22;
  const auto first = compiled->render(fuzz::variables(), options);
  const auto second = compiled->render(fuzz::variables(), options);
  fuzz::require(first.ok() == second.ok(), "rendering is repeatable", fuzz::as_text(data, size));
  if (!first.ok()) {
    fuzz::require_readable(first.error().message);
    return 0;
  }
  fuzz::require(*first == *second, "rendering is repeatable", fuzz::as_text(data, size));
  fuzz::require(is_valid_utf8(*first), "the output is UTF-8", *first);
  fuzz::require(first->size() <= options.limits.bytes, "the output keeps to its limit");
  return 0;
}
