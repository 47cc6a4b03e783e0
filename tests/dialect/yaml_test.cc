// The YAML reader: positions, aliases, limits, refusals.
#include "octavo/dialect/yaml.h"

#include <gtest/gtest.h>

namespace octavo::dialect {
namespace {

std::string error_of(std::string_view text) {
  const auto node = parse_yaml(text, "f.yaml");
  return node.ok() ? "" : node.error().message;
}

TEST(Yaml, EveryValueKnowsItsPlace) {
  const auto node = parse_yaml("a:\n  b: [x, 'y']\n  c: {d: 1}\n", "f.yaml");
  ASSERT_TRUE(node.ok()) << node.error().message;
  const Node* b = node->find("a")->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->at.line, 2);
  EXPECT_EQ(b->at.column, 6);
  EXPECT_EQ(b->items[1].text, "y");
  EXPECT_TRUE(b->items[1].quoted);
  EXPECT_FALSE(b->items[0].quoted);
  EXPECT_EQ(b->items[1].at.column, 10);
  EXPECT_EQ(node->find("a")->entries[1].at.line, 3);
  EXPECT_EQ(node->find("a")->find("nothing"), nullptr);
}

TEST(Yaml, JsonIsYaml) {
  const auto node = parse_yaml(R"({"linear":"fp8_per_block","ignore":["re:.*\\.o_proj","b"],"n":null})", "f");
  ASSERT_TRUE(node.ok()) << node.error().message;
  EXPECT_EQ(node->find("linear")->text, "fp8_per_block");
  EXPECT_EQ(node->find("ignore")->items[0].text, "re:.*\\.o_proj");
  EXPECT_TRUE(node->find("n")->is_null());
}

TEST(Yaml, NothingIsNullAndQuotedNothingIsText) {
  const auto node = parse_yaml("a:\nb: ~\nc: null\nd: ''\n", "f.yaml");
  ASSERT_TRUE(node.ok());
  for (const char* key : {"a", "b", "c"}) EXPECT_TRUE(node->find(key)->is_null()) << key;
  EXPECT_TRUE(node->find("d")->is_scalar());
}

TEST(Yaml, AliasesAndMergeKeys) {
  const auto node = parse_yaml("base: &base {x: 1, y: 2}\nmine:\n  <<: *base\n  y: 3\nsame: *base\n", "f.yaml");
  ASSERT_TRUE(node.ok()) << node.error().message;
  EXPECT_EQ(node->find("mine")->find("x")->text, "1");
  EXPECT_EQ(node->find("mine")->find("y")->text, "3");
  EXPECT_EQ(node->find("same")->find("y")->text, "2");
  EXPECT_EQ(node->find("mine")->entries.size(), 2u);
}

TEST(Yaml, Refusals) {
  EXPECT_EQ(error_of("a: 1\nb: 2\na: 3\n"), "f.yaml:3:1: the key a stands twice in this map");
  EXPECT_EQ(error_of("a: {b: 1, b: 2}"), "f.yaml:1:11: the key b stands twice in this map");
  EXPECT_EQ(error_of("? [a, b]\n: c\n"), "f.yaml:1:3: a key must be a plain name");
  EXPECT_EQ(error_of("a: !!python/object:os.system x\n"),
            "f.yaml:1:4: the tag tag:yaml.org,2002:python/object:os.system is not read; write the plain value");
  EXPECT_EQ(error_of("a: 1\n---\nb: 2\n"), "f.yaml:3:1: a second document (---) in one file; one is read");
  EXPECT_EQ(error_of(""), "f.yaml: is empty");
  EXPECT_EQ(error_of("# only a comment\n"), "f.yaml: is empty");
  EXPECT_EQ(error_of(std::string_view("a: \0b", 5)), "f.yaml:1:4: the control character \\x00 has no place in YAML");
  EXPECT_EQ(error_of("a: \xff\n"), "f.yaml: is not UTF-8");
  EXPECT_EQ(error_of("a: &a [*a]\n"), "f.yaml:1:8: an alias stands inside what it names");
  EXPECT_EQ(error_of("a:\n  <<: 5\n"), "f.yaml:2:3: << merges a map, or a list of maps");
  EXPECT_NE(error_of("a: [1, 2\nb: 3\n").find("is not YAML"), std::string::npos);
  EXPECT_NE(error_of("a:\n\t- b\n").find("f.yaml:2:"), std::string::npos);
}

TEST(Yaml, DepthIsBounded) {
  const auto deep = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(error_of(deep(48)), "");
  EXPECT_EQ(error_of(deep(49)), "f.yaml:1:49: lists and maps lie more than 48 deep");
  EXPECT_EQ(error_of(deep(100'000)), "f.yaml:1:49: lists and maps lie more than 48 deep");
  EXPECT_NE(error_of(std::string(100'000, '[')), "");
  EXPECT_NE(error_of(std::string(100'000, '{')), "");
  std::string maps;
  for (int i = 0; i < 60; ++i) maps += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_NE(error_of(maps).find("more than 48 deep"), std::string::npos);
}

TEST(Yaml, LaughsAreCounted) {
  std::string text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 12; ++i) {
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) text += (j > 0 ? ", *a" : "*a") + std::to_string(i - 1);
    text += "]\n";
  }
  const std::string error = error_of(text);
  EXPECT_TRUE(error.find("aliases expanded") != std::string::npos || error.find("anchors") != std::string::npos)
      << error;
  EXPECT_NE(error_of("a: &a " + std::string(600'000, 'x') + "\nb: *a\nc: *a\n").find("aliases expanded"),
            std::string::npos);
  EXPECT_NE(error_of(std::string(2 << 20, '#')).find("too much for a configuration"), std::string::npos);
}

}  // namespace
}  // namespace octavo::dialect
