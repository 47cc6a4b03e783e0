// Strings as Python sees them: counted and cut by code point, with Python's classes and full case mappings.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::text::jinja {

bool is_all_ascii(std::string_view text);

// All of these take valid UTF-8.
std::size_t count_chars(std::string_view text);
std::size_t byte_of_char(std::string_view text, std::size_t index);  // text.size() behind the end
std::u32string to_code_points(std::string_view text);
std::string to_utf8(std::u32string_view text);

// str.isspace(), str.isalpha() and so on, of one character.
bool is_space(char32_t c);
bool is_alphabetic(char32_t c);
bool is_decimal(char32_t c);
int decimal_value(char32_t c);  // of a decimal digit of any script: 0 to 9
bool is_digit(char32_t c);
bool is_numeric_char(char32_t c);
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_title(char32_t c);
bool is_cased(char32_t c);
bool is_printable(char32_t c);  // as repr() decides whether to escape
bool is_identifier_start(char32_t c);
bool is_identifier_part(char32_t c);
inline bool is_word(char32_t c) { return c == '_' || is_alphabetic(c) || is_numeric_char(c); }  // \w of Python's re

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string title(std::string_view text);       // str.title()
std::string capitalize(std::string_view text);  // str.capitalize()
std::string swap_case(std::string_view text);
std::string fold_case(std::string_view text);

// Without spaces at the ends that `sides` names (1 left, 2 right, 3 both).
std::string_view strip_space(std::string_view text, int sides = 3);

// memmem: linear whatever the two texts. npos where it is not found.
std::size_t find_text(std::string_view text, std::string_view wanted, std::size_t from = 0);

}  // namespace octavo::text::jinja
