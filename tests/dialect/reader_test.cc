// The books of the keys: what is asked for, what is left over, what refers to something else.
#include "octavo/dialect/reader.h"

#include "tests/dialect/dialect_support.h"

namespace octavo::dialect {
namespace {

struct Books {
  explicit Books(std::string_view text, bool interpolates = true)
      : root(*parse_yaml(text, "f.yaml")), reader(root, {"f.yaml"}, interpolates) {}
  Config finish() {
    Config config;
    reader.finish(config);
    return config;
  }
  Node root;
  Reader reader;
};

TEST(Reader, LeftOverKeysAreErrorsWithASuggestion) {
  Books books("a: 1\nbranch: {leef: 2, other: ~}\nunseen: {x: 1}\n");
  const Section root = books.reader.root();
  EXPECT_EQ(root.integer("a", 0, 9), 1);
  const Section branch = root.section("branch");
  EXPECT_FALSE(branch.text("leaf"));
  EXPECT_FALSE(branch.has("other"));  // asked for, and null: accounted for
  root.meaningless({"unseen"});
  const Config config = books.finish();
  EXPECT_EQ(config.errors, std::vector<std::string>{"f.yaml:2:10: branch.leef: unknown key; did you mean leaf?"});
  EXPECT_EQ(config.meaningless(), std::vector<std::string>{"unseen"});
}

TEST(Reader, TolerantMapsRefuseOnlyWhatLooksMisspelt) {
  Books books("quantizaton: 1\nworld_sise: 2\nnovel: 3\n");
  const Section root = books.reader.root();
  root.text("quantization");
  root.meaningless({"world_size"});
  root.tolerate_unknown();
  const Config config = books.finish();
  EXPECT_EQ(config.errors,
            std::vector<std::string>{"f.yaml:1:1: quantizaton: unknown key; did you mean quantization?"});
  EXPECT_EQ(config.meaningless(), (std::vector<std::string>{"world_sise", "novel"}));
}

TEST(Reader, ReferencesAreLookedUp) {
  Books books(
      "p: {q: deep, r: {s: '${p.q}', t: '${..q}', u: '${.s}', v: '${a}', w: '${p}', x: 'y${p.q}', z: '${.}'}}\n"
      "a: '${b}'\nb: '${a}'\nplain: '${oc.env:HOME}'\n");
  const Section root = books.reader.root();
  const Section r = root.section("p").section("r");
  EXPECT_EQ(r.text("s"), "deep");
  EXPECT_EQ(r.text("t"), "deep");
  EXPECT_EQ(r.text("u"), "deep");
  EXPECT_FALSE(r.text("v"));  // a and b refer to each other
  EXPECT_FALSE(r.text("w"));  // a map
  EXPECT_FALSE(r.text("x"));
  EXPECT_FALSE(r.text("z"));
  root.meaningless({"a", "b", "plain"});
  const Config config = books.finish();
  EXPECT_EQ(config.errors.size(), 4u) << all_errors(config);
  EXPECT_EQ(config.meaningless(), std::vector<std::string>{"plain"});  // a, b were referred to

  Books literal("a: '${b}'\n", /*interpolates=*/false);
  EXPECT_EQ(literal.reader.root().text("a"), "${b}");
}

TEST(Reader, TypesAreChecked) {
  Books books("i: 8\nq: '8'\nb: Yes\nl: [1, x]\nm: {}\nt: [a, [b]]\nbig: 99999999999999999999\n");
  const Section root = books.reader.root();
  EXPECT_EQ(root.integer("i", 8, 8), 8);
  EXPECT_FALSE(root.integer("i", 9, 10));
  EXPECT_FALSE(root.integer("q", 0, 9));  // a string
  EXPECT_EQ(root.boolean("b"), true);
  EXPECT_FALSE(root.integers("l", 0, 9));
  EXPECT_FALSE(root.text("m"));
  EXPECT_FALSE(root.texts("t"));
  EXPECT_FALSE(root.integer("big", 0, 9));
  EXPECT_EQ(books.finish().errors.size(), 6u);
  Books list("- a\n");
  EXPECT_FALSE(list.reader.root().exists());
  EXPECT_EQ(list.finish().errors,
            std::vector<std::string>{"f.yaml:1:1: the document must be a map of keys, not a list"});
}

}  // namespace
}  // namespace octavo::dialect
