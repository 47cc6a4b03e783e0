// General categories of code points that Unicode 15 to 16 added: PCRE2 and utf8proc may be older than the tokenizers
// library's tables, and ids must not depend on their versions.
#pragma once

#include <string>
#include <string_view>

namespace octavo::text {

// "Lo" and so on; "" for a code point that Unicode 14 has or Unicode 16 has not.
std::string_view added_category(char32_t c);

// The added code points of a category ("Lo") or a group of them ("L") as items of a PCRE2 class:
// "\x{1C89}-\x{1C8A}...".
std::string added_class_items(std::string_view category);

}  // namespace octavo::text
