// Stop texts across token borders, and the list of free cache blocks.
#include "octavo/engine/stop_text.h"

#include <gtest/gtest.h>

#include "octavo/engine/kv_blocks.h"
#include "tests/support/random_tensor.h"

namespace octavo::engine {
namespace {

TEST(StopText, NothingToStopAt) {
  StopText stop({});
  EXPECT_EQ(stop.push("any"), "any");
  EXPECT_EQ(stop.push(""), "");
  EXPECT_EQ(stop.finish(), "");
  EXPECT_FALSE(stop.stopped());
}

TEST(StopText, HoldsBackWhatMayBecomeAStopText) {
  StopText stop({"</end>"});
  EXPECT_EQ(stop.push("a<"), "a");
  EXPECT_EQ(stop.push("/e"), "");
  EXPECT_EQ(stop.push("x"), "</ex");
  EXPECT_EQ(stop.push("</end"), "");
  EXPECT_EQ(stop.push("> more"), "");
  EXPECT_TRUE(stop.stopped());
  EXPECT_EQ(stop.push("more"), "");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopText, EndOfOutputGivesBackWhatWasHeld) {
  StopText stop({"stop"});
  EXPECT_EQ(stop.push("sto"), "");
  EXPECT_EQ(stop.finish(), "sto");
  EXPECT_FALSE(stop.stopped());
}

TEST(StopText, TheEarliestWins) {
  StopText stop({"late", "b l"});
  EXPECT_EQ(stop.push("a b late"), "a ");
  EXPECT_TRUE(stop.stopped());
}

TEST(StopText, WhichAndIncluded) {
  StopText stop({"two", "tw", "one"}, /*include=*/true);
  EXPECT_EQ(stop.push("1 o"), "1 ");
  EXPECT_EQ(stop.push("f t"), "of ");
  EXPECT_FALSE(stop.stopped());
  EXPECT_EQ(stop.push("wo three"), "two");  // of two that begin there, the first of the list
  EXPECT_TRUE(stop.stopped());
  EXPECT_EQ(stop.matched(), "two");
  EXPECT_EQ(stop.push("more"), "");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopText, OverlapOfAStopTextWithItself) {
  StopText stop({"aab"});
  EXPECT_EQ(stop.push("aa"), "");
  EXPECT_EQ(stop.push("a"), "a");
  EXPECT_EQ(stop.push("b"), "");
  EXPECT_TRUE(stop.stopped());
}

// However the text is cut: the output ends at a stop text, nothing of it is shown, and nothing before it is lost.
TEST(StopText, CutsDoNotMatter) {
  test::Random random(3);
  const std::vector<std::string> stops = {"aba", "bb", "abcab"};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (std::uint64_t i = random.below(14); i > 0; --i) text += static_cast<char>('a' + random.below(3));
    StopText stop(stops);
    std::string shown;
    std::size_t at = 0;
    while (at < text.size() && !stop.stopped()) {
      const std::size_t size = std::min<std::size_t>(1 + random.below(3), text.size() - at);
      at += size;
      shown += stop.push(text.substr(at - size, size));
    }
    shown += stop.finish();
    const std::string seen = text.substr(0, at);
    std::size_t end = std::string::npos;
    for (const std::string& s : stops) end = std::min(end, seen.find(s));
    EXPECT_EQ(shown, seen.substr(0, end)) << text;
    EXPECT_EQ(stop.stopped(), end != std::string::npos) << text;
    EXPECT_TRUE(stop.stopped() || at == text.size()) << text;
  }
}

TEST(KvBlocks, HandsOutTheSmallestAndTakesBack) {
  KvBlocks pool(4);
  std::vector<std::int32_t> a, b;
  ASSERT_TRUE(pool.grow(a, 1));
  ASSERT_TRUE(pool.grow(a, kKvBlockTokens));  // still in the first block
  EXPECT_EQ(a, (std::vector<std::int32_t>{0}));
  ASSERT_TRUE(pool.grow(a, kKvBlockTokens + 1));
  EXPECT_EQ(a, (std::vector<std::int32_t>{0, 1}));
  EXPECT_FALSE(pool.grow(b, 3 * kKvBlockTokens));
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(pool.free(), 2u);
  ASSERT_TRUE(pool.grow(b, 2 * kKvBlockTokens));
  EXPECT_EQ(b, (std::vector<std::int32_t>{2, 3}));
  pool.give_back(a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(pool.free(), 2u);
  EXPECT_FALSE(pool.grow(b, 5 * kKvBlockTokens));
  EXPECT_TRUE(pool.grow(b, 4 * kKvBlockTokens));
  EXPECT_EQ(pool.free(), 0u);
}

}  // namespace
}  // namespace octavo::engine
