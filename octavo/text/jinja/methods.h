// The tables of methods that builtin_attribute() looks into.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "octavo/text/jinja/builtins.h"

namespace octavo::text::jinja {

MethodFunction find_string_method(std::string_view name);        // methods_string.cc; null where there is none
MethodFunction find_string_split_method(std::string_view name);  // methods_split.cc

// str.split() and its kin, also for filters.
std::vector<Value> split_lines(std::string_view text, bool keep_ends, Budget& budget);
std::vector<std::string_view> split_words(std::string_view text);  // at runs of whitespace
std::string_view strip_chars(std::string_view text, std::string_view chars, int sides);
std::string replace_text(std::string_view text, std::string_view old, std::string_view replacement, std::int64_t count,
                         Budget& budget);
std::string join_texts(std::string_view separator, const Value& items, std::string_view function, Budget& budget);

}  // namespace octavo::text::jinja
