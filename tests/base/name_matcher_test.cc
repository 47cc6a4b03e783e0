// Lists of names: exact, re:, globs; hostile expressions end in an error.
#include "octavo/base/name_matcher.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace octavo {
namespace {

NameMatcher compiled(const std::vector<std::string>& entries, bool globs = true) {
  auto matcher = NameMatcher::compile(entries, globs);
  EXPECT_TRUE(matcher.ok()) << (matcher.ok() ? "" : matcher.error().message);
  return matcher.ok() ? std::move(matcher).value() : NameMatcher();
}

bool matches(const NameMatcher& matcher, std::string_view name) {
  const auto result = matcher.matches(name);
  EXPECT_TRUE(result.ok());
  return result.ok() && *result;
}

TEST(NameMatcher, ExactNamesAreWholeNames) {
  const NameMatcher m = compiled({"lm_head", "model.layers.0.mlp"});
  EXPECT_TRUE(matches(m, "lm_head"));
  EXPECT_FALSE(matches(m, "lm_head.weight"));
  EXPECT_FALSE(matches(m, "model.layers.0.mlp.gate_proj"));
  EXPECT_FALSE(matches(m, ""));
}

TEST(NameMatcher, RegularExpressionsAreAnchoredAtTheStartOnly) {
  const NameMatcher m = compiled({"re:.*lm_head$", "re:model\\.layers\\.[0-9]+\\.mlp"});
  EXPECT_TRUE(matches(m, "lm_head"));
  EXPECT_TRUE(matches(m, "language_model.lm_head"));
  EXPECT_FALSE(matches(m, "lm_head.weight"));
  EXPECT_TRUE(matches(m, "model.layers.12.mlp.gate_proj"));  // as Python's re.match: the end is free
  EXPECT_FALSE(matches(m, "x.model.layers.12.mlp"));
}

TEST(NameMatcher, GlobsOnlyWhereTheListAllowsThem) {
  EXPECT_TRUE(matches(compiled({"*.q_proj"}, true), "layers.0.q_proj"));
  EXPECT_FALSE(matches(compiled({"*.q_proj"}, false), "layers.0.q_proj"));
  EXPECT_TRUE(matches(compiled({"*.q_proj"}, false), "*.q_proj"));
}

TEST(NameMatcher, TheFirstEntryThatMatchesIsReported) {
  const NameMatcher m = compiled({"re:a.*", "abc", "a*", "xyz", "abc"});
  EXPECT_EQ(**m.first_match("abc"), 0u);
  EXPECT_EQ(**m.first_match("xyz"), 3u);
  EXPECT_EQ(**compiled({"abc", "re:a.*"}).first_match("abc"), 0u);
  EXPECT_EQ(**compiled({"q", "abc", "re:a.*"}).first_match("abcd"), 2u);
  EXPECT_FALSE(m.first_match("q")->has_value());
}

TEST(NameMatcher, EmptyMatchesNothing) {
  EXPECT_TRUE(NameMatcher().empty());
  EXPECT_FALSE(matches(NameMatcher(), "anything"));
  EXPECT_TRUE(compiled({}).empty());
  EXPECT_FALSE(compiled({"a"}).empty());
  EXPECT_FALSE(compiled({"re:a"}).empty());
}

TEST(NameMatcher, AMalformedExpressionIsAUsageError) {
  for (const char* entry :
       {"re:(", "re:[", "re:*", "re:a{2,1}", "re:\\", "re:(?<n", "re:\xff", "re:(?P<x>a)(?P<x>b)"}) {
    const auto matcher = NameMatcher::compile({"ok", entry}, true);
    ASSERT_FALSE(matcher.ok()) << entry;
    EXPECT_EQ(matcher.error().kind, ErrorKind::kUsage);
    EXPECT_TRUE(matcher.error().message.starts_with("pattern \"re:")) << matcher.error().message;
    EXPECT_NE(matcher.error().message.find(" at character "), std::string::npos) << matcher.error().message;
  }
}

TEST(NameMatcher, AHostileExpressionEndsInAnError) {
  const std::string name(60, 'a');
  for (const char* entry : {"re:(a+)+$b", "re:(a|aa)+$b", "re:(.*)*(.*)*(.*)*(.*)*b", "re:((a*)*)*b"}) {
    const NameMatcher m = compiled({entry});
    const auto result = m.matches(name + "!");
    if (result.ok()) {
      EXPECT_FALSE(*result) << entry;
    } else {
      EXPECT_NE(result.error().message.find("limit"), std::string::npos) << result.error().message;
    }
  }
  const NameMatcher limited = compiled({"re:(a|a|a)+[bc]"});
  EXPECT_FALSE(limited.matches(name + "!").ok());  // beyond any doubt exponential
  EXPECT_FALSE(NameMatcher::compile({"re:((((a{999}){999}){999}){999})"}, true).ok());
  EXPECT_FALSE(NameMatcher::compile({"re:" + std::string(5000, '(') + std::string(5000, ')')}, true).ok());
}

TEST(NameMatcher, ThousandsOfExactNames) {
  std::vector<std::string> entries;
  for (int i = 0; i < 90'000; ++i) entries.push_back(fmt::format("model.layers.{}.mlp", i));
  const NameMatcher m = compiled(entries);
  for (int i = 0; i < 90'000; ++i) ASSERT_EQ(**m.first_match(entries[static_cast<std::size_t>(i)]), std::size_t(i));
}

}  // namespace
}  // namespace octavo
