// Sizes, globs, suggestions, UTF-8.
#include "octavo/base/text.h"

#include <gtest/gtest.h>

namespace octavo {
namespace {

TEST(HumanBytes, RoundsInPowersOf1000) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.0 kB");
  EXPECT_EQ(human_bytes(999'949), "999.9 kB");
  EXPECT_EQ(human_bytes(999'950), "1.0 MB");  // never "1000.0 kB"
  EXPECT_EQ(human_bytes(256'600'000), "256.6 MB");
  EXPECT_EQ(human_bytes(UINT64_MAX), "18.4 EB");
}

struct GlobCase {
  const char* pattern;
  const char* name;
  bool matches;
};

TEST(Glob, MatchesAsAShellDoes) {
  const GlobCase cases[] = {
      {"", "", true},
      {"", "a", false},
      {"*", "", true},
      {"*", "model.layers.0", true},
      {"a*c", "abbbc", true},
      {"a*c", "abbbcd", false},
      {"*.q_proj", "model.layers.0.self_attn.q_proj", true},
      {"*.q_proj", "model.layers.0.self_attn.q_proj.bias", false},
      {"model.layers.?.mlp", "model.layers.7.mlp", true},
      {"model.layers.?.mlp", "model.layers.17.mlp", false},
      {"layers.[0-3].*", "layers.3.x", true},
      {"layers.[0-3].*", "layers.4.x", false},
      {"[!a-c]x", "dx", true},
      {"[!a-c]x", "bx", false},
      {"[^a]x", "bx", true},
      {"[]a]x", "]x", true},   // a leading ] is a member
      {"[a-]x", "-x", true},   // a trailing - too
      {"[abc", "[abc", true},  // never closed: a bracket as any other
      {"[abc", "a", false},
      {"**a**b", "xxaxxb", true},
      {"a?", "a", false},
      {"*[0-9]", "layer12", true},
      {"a*b*c*d", "a1b2c3d", true},
      {"a*b*c*d", "a1c2b3d", false},
  };
  for (const GlobCase& c : cases) EXPECT_EQ(glob_match(c.pattern, c.name), c.matches) << c.pattern << " on " << c.name;
}

TEST(Glob, ManyStarsEndSoon) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(5000, 'a')));
  EXPECT_TRUE(glob_match(pattern, std::string(5000, 'a')));
}

TEST(Nearest, BestFirstAndOnlyNearOnes) {
  const std::vector<std::string> names = {"--scheme", "--scale-dtype", "--dtype", "--direct", "--dry-run"};
  EXPECT_EQ(nearest("--shceme", names, 3).front(), "--scheme");
  EXPECT_EQ(nearest("--dtyp", names, 1), std::vector<std::string>{"--dtype"});
  EXPECT_TRUE(nearest("--something-else", names, 3).empty());
  EXPECT_TRUE(nearest("x", {}, 3).empty());
  EXPECT_EQ(nearest("abc", {"abd", "abe", "abf"}, 2).size(), 2u);
}

TEST(Nearest, ANameThatHoldsTheWantedTextIsNear) {
  EXPECT_EQ(nearest("q_proj", {"model.layers.0.self_attn.q_proj", "model.norm"}, 3),
            std::vector<std::string>{"model.layers.0.self_attn.q_proj"});
  EXPECT_TRUE(nearest("q", {"model.layers.0.self_attn.q_proj"}, 3).empty());  // too short to mean anything
}

TEST(Nearest, LongForeignNamesCostNothing) {
  const std::vector<std::string> names(2000, std::string(100'000, 'a'));
  EXPECT_TRUE(nearest(std::string(500, 'b'), names, 3).empty());
}

TEST(DidYouMean, ReadsAsASentence) {
  EXPECT_EQ(did_you_mean("blok", {"block", "tensor"}), "; did you mean block?");
  EXPECT_EQ(did_you_mean("abc", {"abd", "abe", "abf"}, 2), "; did you mean abd or abe?");
  EXPECT_EQ(did_you_mean("abc", {"abd", "abe", "abf"}, 3), "; did you mean abd, abe or abf?");
  EXPECT_EQ(did_you_mean("zzz", {"abd"}), "");
}

TEST(Split, KeepsEmptyParts) {
  const auto views = [](std::initializer_list<std::string_view> v) { return std::vector<std::string_view>(v); };
  EXPECT_EQ(split("a.b.c", '.'), views({"a", "b", "c"}));
  EXPECT_EQ(split("", '.'), views({""}));
  EXPECT_EQ(split(".a.", '.'), views({"", "a", ""}));
}

TEST(Utf8, AcceptsWhatUnicodeAllows) {
  for (const char* good : {"", "plain", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xEE\x80\x80", "\xED\x9F\xBF",
                           "\xF4\x8F\xBF\xBF", "\xC2\x80", "\xE0\xA0\x80", "\xF0\x90\x80\x80"}) {
    EXPECT_TRUE(is_valid_utf8(good)) << good;
  }
  EXPECT_TRUE(is_valid_utf8(std::string_view("a\0b", 3)));
}

TEST(Utf8, RefusesTheRest) {
  const char* bad[] = {
      "\x80",              // continuation first
      "\xC3",              // cut off
      "\xC3(",             // no continuation
      "\xC0\x80",          // overlong NUL
      "\xC1\xBF",          // overlong
      "\xE0\x9F\xBF",      // overlong
      "\xED\xA0\x80",      // surrogate
      "\xF0\x8F\xBF\xBF",  // overlong
      "\xF4\x90\x80\x80",  // beyond U+10FFFF
      "\xF5\x80\x80\x80",
      "\xFF",
      "a\xFE",
      "\xE2\x82",
      "\xF0\x9F\x98",
  };
  for (const char* text : bad) EXPECT_FALSE(is_valid_utf8(text)) << printable(text);
}

TEST(Printable, EscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("a\x1b[31m"), "a\\x1b[31m");
  EXPECT_EQ(printable("a\nb\tc"), "a\\x0ab\\x09c");
  EXPECT_EQ(printable("\x7f"), "\\x7f");
  EXPECT_EQ(printable("\xC3\xA9"), "\xC3\xA9");
  EXPECT_EQ(printable("\xC3"), "\\xc3");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(Printable, CutsLongTextAtACharacter) {
  EXPECT_EQ(printable(std::string(130, 'a'), 120), std::string(120, 'a') + "...");
  EXPECT_EQ(printable(std::string(120, 'a'), 120), std::string(120, 'a'));
  std::string euros;
  for (int i = 0; i < 50; ++i) euros += "\xE2\x82\xAC";
  EXPECT_TRUE(is_valid_utf8(printable(euros, 100)));
}

}  // namespace
}  // namespace octavo
