// Names that are packed, and names that are found where they are kept.
#include "octavo/base/string_pool.h"

#include <gtest/gtest.h>

#include <string>

#include "octavo/base/name_table.h"

namespace octavo {
namespace {

TEST(StringPool, KeepsWhatItWasGiven) {
  StringPool pool;
  std::vector<std::string> expected;
  std::vector<std::string_view> views;
  for (std::size_t i = 0; i < 3000; ++i) {
    // Some are longer than a block.
    expected.emplace_back(i % 1000 == 999 ? 100'000 : i % 97, static_cast<char>('a' + i % 26));
    views.push_back(pool.add(expected.back()));
  }
  const StringPool moved = std::move(pool);
  for (std::size_t i = 0; i < views.size(); ++i) ASSERT_EQ(views[i], expected[i]);
}

TEST(StringPool, AStringOfTwo) {
  StringPool pool;
  EXPECT_EQ(pool.add("model.norm", ".weight"), "model.norm.weight");
  EXPECT_EQ(pool.add("", "b"), "b");
  EXPECT_EQ(pool.add("a", ""), "a");
  EXPECT_EQ(pool.add("", ""), "");
}

TEST(StringPool, TheSameTextIsKeptOnce) {
  StringPool pool;
  const std::string_view a = pool.intern(std::string("linear of layer 3"));
  for (int i = 0; i < 1000; ++i) pool.intern(std::to_string(i));
  EXPECT_EQ(pool.intern(std::string("linear of layer 3")).data(), a.data());
  EXPECT_NE(pool.add("linear of layer 3").data(), a.data());
}

TEST(NameTable, FindsEveryNameAndNoOther) {
  std::vector<std::string> names;
  for (int i = 0; i < 10'000; ++i) names.push_back("model.layers." + std::to_string(i));
  const auto name_of = [&](std::uint32_t i) -> std::string_view { return names[i]; };
  NameTable table;
  EXPECT_EQ(table.find("model.layers.0", name_of), NameTable::kNone);
  for (std::uint32_t i = 0; i < names.size(); ++i) ASSERT_TRUE(table.add(names[i], i, name_of));
  for (std::uint32_t i = 0; i < names.size(); ++i) {
    ASSERT_EQ(table.find(names[i], name_of), i);
    ASSERT_EQ(table.find(names[i] + ".", name_of), NameTable::kNone);
    ASSERT_FALSE(table.add(names[i], 0, name_of));
  }
  EXPECT_EQ(table.size(), names.size());
  EXPECT_EQ(table.find("", name_of), NameTable::kNone);
}

}  // namespace
}  // namespace octavo
