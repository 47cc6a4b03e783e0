// UTF-8 decoding (Unicode 3.9, table 3-7) and classes from utf8proc.
#include "octavo/text/utf8.h"

#include <utf8proc.h>

#include "octavo/text/unicode_additions.h"

namespace octavo::text {
namespace {

struct Scan {
  char32_t value = 0;
  std::size_t length = 0;  // 0: invalid
  std::size_t bad = 1;     // when invalid: bytes of the maximal part that could have begun a character
};

Scan scan(std::string_view text) {
  if (text.empty()) return {};
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1, 0};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range shuts out overlong forms, surrogates and what lies beyond U+10FFFF.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t value = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {0, 0, i};
    const unsigned next = byte(i);
    if (next < (i == 1 ? low : 0x80u) || next > (i == 1 ? high : 0xBFu)) return {0, 0, i};
    value = (value << 6) | (next & 0x3F);
  }
  return {value, length, 0};
}

utf8proc_category_t category(char32_t c) {
  const utf8proc_category_t known = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  if (known != UTF8PROC_CATEGORY_CN) return known;
  const std::string_view added = added_category(c);
  if (added.empty()) return known;
  for (int i = UTF8PROC_CATEGORY_LU; i <= UTF8PROC_CATEGORY_ZP; ++i) {
    // The two letters of each category, in utf8proc's order.
    constexpr std::string_view kNames = "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZp";
    if (kNames.substr(2 * static_cast<std::size_t>(i - UTF8PROC_CATEGORY_LU), 2) == added) {
      return static_cast<utf8proc_category_t>(i);
    }
  }
  return known;
}

}  // namespace

CodePoint first_code_point(std::string_view text) {
  const Scan s = scan(text);
  return {s.value, s.length};
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6)), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12)), put(0x80 | ((c >> 6) & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18)), put(0x80 | ((c >> 12) & 0x3F)), put(0x80 | ((c >> 6) & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

std::optional<std::size_t> invalid_utf8_offset(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const Scan s = scan(text.substr(at));
    if (s.length == 0) return at;
    at += s.length;
  }
  return std::nullopt;
}

std::size_t append_decided_utf8(std::string_view bytes, std::string& out) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const Scan s = scan(bytes.substr(at));
    if (s.length == 0 && at + s.bad == bytes.size() && utf8_length_of(bytes[at]) > s.bad) {
      const unsigned lead = static_cast<unsigned char>(bytes[at]);
      if (lead >= 0xC2 && lead <= 0xF4) break;  // unfinished
    }
    if (s.length == 0) {
      out += "\xEF\xBF\xBD";
      at += s.bad;
    } else {
      out += bytes.substr(at, s.length);
      at += s.length;
    }
  }
  return at;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const Scan s = scan(bytes.substr(at));
    if (s.length == 0) {
      out += "\xEF\xBF\xBD";
      at += s.bad;
    } else {
      out += bytes.substr(at, s.length);
      at += s.length;
    }
  }
  return out;
}

bool is_whitespace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool is_numeric(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool is_mark(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

bool is_word(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
  }
  // Other_Alphabetic beyond the categories above (circled and squared letters), and Join_Control.
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189) || c == 0x200C || c == 0x200D;
}

}  // namespace octavo::text
