// String literals of a template: where they end and what their escapes mean.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace octavo::text::jinja {

// Bytes of the literal at the front of `text` with its quotes, 0 where it does not end.
std::size_t end_of_string(std::string_view text);

// What stands between the quotes, unescaped as Python does ('unicode-escape'). Raises for a broken escape.
std::string unescape(std::string_view body);

}  // namespace octavo::text::jinja
