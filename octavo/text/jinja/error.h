// The error inside jinja/. A template language mirrors Python, where every operation may raise, so in here errors are
// thrown; the two doors of the folder, compile() and render() in template.h, turn them into Result values.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace octavo::text::jinja {

struct TemplateError {
  std::string message;
  int line = 0;  // 0: where the evaluator stands
};

template <typename... Args>
[[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) {
  throw TemplateError{fmt::format(format, std::forward<Args>(args)...)};
}

template <typename... Args>
[[noreturn]] void raise_at(int line, fmt::format_string<Args...> format, Args&&... args) {
  throw TemplateError{fmt::format(format, std::forward<Args>(args)...), line};
}

}  // namespace octavo::text::jinja
