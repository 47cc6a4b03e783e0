// Cuts a template into tokens, with jinja2's rules for whitespace (trim_blocks, lstrip_blocks, "-" and "+").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::text::jinja {

enum class TokenKind : std::uint8_t {
  kData,           // text between tags
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  // text holds it
  kError,     // text says what is wrong here; raised when the parser arrives
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;  // of a string: unescaped
  std::int64_t integer = 0;
  double real = 0;

  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  bool is_operator(std::string_view symbol) const { return kind == TokenKind::kOperator && text == symbol; }
};

// `source` is valid UTF-8. The last token is kEnd or kError.
std::vector<Token> tokenize(std::string_view source);

// A token as messages name it: "end of print statement".
std::string describe(const Token& token);

}  // namespace octavo::text::jinja
