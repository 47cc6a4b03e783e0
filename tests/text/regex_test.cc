// Oniguruma's patterns in PCRE2: what matches, and what is refused.
#include "octavo/text/regex.h"

#include <gtest/gtest.h>

#include <vector>

namespace octavo::text {
namespace {

// The matches, with "|" between them.
std::string matches(const Regex& regex, std::string_view text) {
  std::string out;
  Regex::Scan scan(regex, text);
  for (;;) {
    const auto found = scan.next();
    if (!found.ok()) return "error: " + found.error().message;
    if (!*found) return out;
    out += (out.empty() ? "" : "|") + std::string(text.substr(scan.begin(), scan.end() - scan.begin()));
  }
}

TEST(Regex, ReadsAsOnigurumaDoes) {
  const struct {
    std::string pattern, text, want;
  } rows[] = {
      {R"(\s+)", "a \u0085\u3000b\u180Ec", " \u0085\u3000"},           // White_Space: U+180E is none
      {R"(\w+)", "a\u0301_\u203F\u00B2-b", "a\u0301_\u203F\u00B2|b"},  // marks, connectors; superscripts of Latin-1
      {R"(\h+)", "xfF09g", "fF09"},
      {R"(\H)", "fg", "g"},
      {R"(a\vb)",
       "a\x0B"
       "b",
       "a\x0B"
       "b"},
      {R"(\u4e00+)", "\u4e00\u4e00a", "\u4e00\u4e00"},
      {R"(a{,2}b)", "aaab", "aab"},
      {R"(a{1,2}+)", "aaaaa", "aaaaa"},  // greedy repetition, not possessive
      {R"(a{1,2}+a)", "aaaa", "aaaa"},
      {R"(xa{2}?)", "xaa", "xaa"},
      {R"(a{x}|{)", "a{x}", "a{x}"},
      {"^b$", "a\nb\nc", "b"},  // always multi-line
      {"a.b", "a\nb a-b", "a-b"},
      {"(?m:a.b)", "a\nb", "a\nb"},
      {"a(?i)b|c", "aB aC ac a", "aB|aC|ac"},  // the option holds to the end, alternatives included
      {"(?i:a)b", "Ab AB", "Ab"},
      {"[a[bc]]+", "abcd", "abc"},
      {"[a-z&&[^aeiou]]+", "abcde", "bcd"},
      {"[^a&&[ab]]+", "aabb", "bb"},
      {R"([^\S\n]+)", " \t\n ", " \t| "},
      {R"([\W\d]+)", "a-1b", "-1"},
      {R"([^\W\d]+)", "a-1b", "a|b"},
      {R"(\p{Han}+)", "\u4e00\u3005a", "\u4e00\u3005"},
      {R"(\p{^L}+)", "a12b", "12"},
      {R"(\P{L}+)", "a12b", "12"},
      {R"(\p{Letter}+|\p{Decimal_Number})", "ab12", "ab|1|2"},
      {"[[:punct:]]+", "a+$!b", "+$!"},
      {"[[:^alpha:]]+", "a12b", "12"},
      {R"(\b.)", "ab cd", "a| |c"},
      {"(?<=a)b", "ab b", "b"},
      {"a(?#note)b", "ab", "ab"},
      {"x*", "axb", "x|"},  // empty, x, empty; none right behind the last
      {R"([]a]+)", "]a", "]a"},
      {R"(\p{L})", "\U00031350", "\U00031350"},  // Unicode 15, whatever PCRE2's version
  };
  for (const auto& row : rows) {
    const auto regex = Regex::compile(row.pattern);
    ASSERT_TRUE(regex.ok()) << regex.error().message;
    EXPECT_EQ(matches(*regex, row.text), row.want) << row.pattern;
  }
}

TEST(Regex, Literal) {
  const auto regex = Regex::literal("a.(b");
  ASSERT_TRUE(regex.ok());
  EXPECT_EQ(matches(*regex, "a.(b a-(b a.(b"), "a.(b|a.(b");
}

TEST(Regex, Refused) {
  const std::pair<std::string, std::string> rows[] = {
      {"(a", "a group is not closed"},
      {"a)", "a ) closes no group"},
      {"[a", "a character class is not closed"},
      {"a\\", "ends in a backslash"},
      {R"(\xFF)", "is a byte, not a character"},
      {R"(\u12)", "without hexadecimal digits"},
      {R"(\p{L)", "is not closed"},
      {R"(\p{a b;})", "is no property"},
      {"[[:nonsense:]]", "is no character class"},
      {"(?~a)", "absence operator"},
      {"(?P<a>b)", "is not supported"},
      {"*", "cannot be compiled"},
      {std::string(150, '[') + "a" + std::string(150, ']'), "nested deeper"},
      {std::string(200, '(') + std::string(200, ')'), "nested deeper"},
      {std::string(70'000, 'a'), "70000 bytes"},
  };
  for (const auto& [pattern, says] : rows) {
    const auto regex = Regex::compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_NE(regex.error().message.find(says), std::string::npos) << regex.error().message;
  }
}

}  // namespace
}  // namespace octavo::text
