// UTF-8 decoding: what is valid, where it stops being so, what replaces it.
#include "octavo/text/utf8.h"

#include <gtest/gtest.h>

namespace octavo::text {
namespace {

TEST(Utf8, EveryCodePointSurvives) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    const CodePoint back = first_code_point(text);
    ASSERT_EQ(back.value, c);
    ASSERT_EQ(back.length, text.size());
    ASSERT_EQ(utf8_length_of(text[0]), text.size());
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(first_code_point(text.substr(0, cut)).length, 0u);
      ASSERT_EQ(replace_invalid_utf8(text.substr(0, cut) + "x"), "\uFFFDx");  // one maximal part
    }
  }
}

TEST(Utf8, InvalidBytesHaveAnOffset) {
  const struct {
    std::string text;
    std::optional<std::size_t> offset;
    std::string replaced;
  } rows[] = {
      {"", std::nullopt, ""},
      {"a\u00e9\U0001F600", std::nullopt, "a\u00e9\U0001F600"},
      {"ab\x80", 2, "ab\uFFFD"},
      {"\xC0\xAF", 0, "\uFFFD\uFFFD"},                      // overlong
      {"\xE0\x80\xAF", 0, "\uFFFD\uFFFD\uFFFD"},            // overlong
      {"\xED\xA0\x80", 0, "\uFFFD\uFFFD\uFFFD"},            // a surrogate
      {"\xF4\x90\x80\x80", 0, "\uFFFD\uFFFD\uFFFD\uFFFD"},  // beyond U+10FFFF
      {"x\xF0\x9F\x98", 1, "x\uFFFD"},
      {"\xF0\x9F\x98\xE2\x82", 0, "\uFFFD\uFFFD"},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(invalid_utf8_offset(row.text), row.offset) << row.text;
    EXPECT_EQ(replace_invalid_utf8(row.text), row.replaced) << row.text;
  }
}

TEST(Utf8, Classes) {
  for (const char32_t c : {U' ', U'\t', U'\u0085', U'\u00A0', U'\u3000', U'\u2028'}) EXPECT_TRUE(is_whitespace(c));
  for (const char32_t c : {U'a', U'\u200B', U'\uFEFF', U'\u180E'}) EXPECT_FALSE(is_whitespace(c));
  for (const char32_t c : {U'$', U'!', U'`', U'\u3002', U'\u2014'}) EXPECT_TRUE(is_punctuation(c));
  for (const char32_t c : {U'a', U'\u20AC', U' '}) EXPECT_FALSE(is_punctuation(c));
  for (const char32_t c : {U'7', U'\u0663', U'\u2167', U'\u00BD'}) EXPECT_TRUE(is_numeric(c));
  EXPECT_TRUE(is_mark(U'\u0301'));
  EXPECT_FALSE(is_mark(U'a'));
}

}  // namespace
}  // namespace octavo::text
