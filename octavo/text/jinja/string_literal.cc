// Escapes as jinja2 reads them: the text passes through Python's codec "unicode-escape".
#include "octavo/text/jinja/string_literal.h"

#include <charconv>

#include "octavo/text/jinja/error.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

// A fixed number of hex digits behind \x, \u or \U.
char32_t hex_escape(std::string_view body, std::size_t at, std::size_t digits) {
  std::uint32_t value = 0;
  const std::string_view text = body.substr(at, digits);
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value, 16).ptr;
  if (text.size() < digits || end != text.data() + digits) {
    raise("truncated \\{} escape in a string", body[at - 1]);
  }
  if (value > 0x10FFFF) raise("illegal Unicode character in a string");
  if (value >= 0xD800 && value <= 0xDFFF) raise("a string holds half a surrogate pair (\\u{:04x})", value);
  return value;
}

}  // namespace

std::size_t end_of_string(std::string_view text) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == text[0]) {
      return i + 1;
    }
  }
  return 0;
}

std::string unescape(std::string_view body) {
  std::string out;
  for (std::size_t i = 0; i < body.size();) {
    if (body[i] != '\\' || i + 1 == body.size()) {
      out += body[i++];
      continue;
    }
    const char c = body[i + 1];
    i += 2;
    switch (c) {
      case '\n': break;  // a line goes on
      case '\\':
      case '\'':
      case '"': out += c; break;
      case 'a': out += '\a'; break;
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      case 't': out += '\t'; break;
      case 'v': out += '\v'; break;
      case 'x': append_utf8(out, hex_escape(body, i, 2)), i += 2; break;
      case 'u': append_utf8(out, hex_escape(body, i, 4)), i += 4; break;
      case 'U': append_utf8(out, hex_escape(body, i, 8)), i += 8; break;
      case 'N': raise("\\N{{...}} in a string is not supported: write the character or its \\u escape");
      default:
        if (c >= '0' && c <= '7') {
          char32_t value = 0;
          --i;
          for (int digits = 0; digits < 3 && i < body.size() && body[i] >= '0' && body[i] <= '7'; ++digits) {
            value = value * 8 + static_cast<char32_t>(body[i++] - '0');
          }
          append_utf8(out, value);
        } else if (const CodePoint wide = first_code_point(body.substr(i - 1)); wide.value >= 0x80) {
          // jinja2 writes the character as an escape before it decodes: "\e-acute" becomes "\\xe9" and so 4 characters.
          const auto code = static_cast<std::uint32_t>(wide.value);
          out += code < 0x100     ? fmt::format("\\x{:02x}", code)
                 : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                                  : fmt::format("\\U{:08x}", code);
          i += wide.length - 1;
        } else {
          out += '\\';
          out += c;
        }
    }
  }
  return out;
}

}  // namespace octavo::text::jinja
