// UTF-8, one code point at a time, and the Unicode classes that tokenizers and templates ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace octavo::text {

struct CodePoint {
  char32_t value = 0;
  std::size_t length = 0;  // bytes; 0 where no code point of valid UTF-8 starts
};

// The code point at the front of `text`. Overlong forms, surrogates and values beyond U+10FFFF are invalid.
CodePoint first_code_point(std::string_view text);
void append_utf8(std::string& out, char32_t code_point);

// The byte offset of the first byte that is not valid UTF-8; nothing when all is valid.
std::optional<std::size_t> invalid_utf8_offset(std::string_view text);

// Bytes of a character from its first byte, 1 for a byte that starts none. For text known to be valid.
inline std::size_t utf8_length_of(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// Replaces what is not valid UTF-8 with U+FFFD, one for each maximal part of a character (Unicode 3.9, as Rust's
// String::from_utf8_lossy and Python's errors="replace").
std::string replace_invalid_utf8(std::string_view bytes);

// Appends to `out` what of `bytes` is decided, replacing as above, and returns how many bytes that were. The rest, at
// most 3 bytes, is the beginning of a character whose end has not come.
std::size_t append_decided_utf8(std::string_view bytes, std::string& out);

bool is_whitespace(char32_t c);   // Unicode property White_Space
bool is_punctuation(char32_t c);  // ASCII punctuation and general category P*
bool is_numeric(char32_t c);      // general category N*
bool is_mark(char32_t c);         // general category M*
bool is_word(char32_t c);         // \w of Unicode TR 18: Alphabetic, M*, Nd, Pc, Join_Control

}  // namespace octavo::text
