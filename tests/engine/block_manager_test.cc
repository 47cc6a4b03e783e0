// Blocks: who holds them, which prefixes are found, which are forgotten first; and that nothing is lost or held twice
// in thousands of random operations, against a model that remembers whole prefixes.
#include "octavo/engine/block_manager.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "tests/support/random_tensor.h"

namespace octavo::engine {
namespace {

using Tokens = std::vector<std::int32_t>;

Tokens counting(std::size_t count, std::int32_t first = 0) {
  Tokens out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = first + static_cast<std::int32_t>(i);
  return out;
}

// A chain that holds `tokens`, all of them computed.
BlockChain computed(BlockManager& blocks, const Tokens& tokens, const std::string& salt = "") {
  BlockChain out;
  out.salt = salt;
  EXPECT_TRUE(blocks.start(out, blocks.match(tokens, salt, tokens.size()), tokens.size()));
  blocks.publish(out, tokens, tokens.size());
  return out;
}

void expect_sound(const BlockManager& blocks, std::vector<const BlockChain*> chains) {
  const Status status = blocks.check(chains);
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
}

std::uint64_t found(const BlockManager& blocks, const Tokens& tokens, const std::string& salt = "") {
  return blocks.match(tokens, salt, tokens.size()).tokens();
}

TEST(BlockManager, GrowsAndGivesBack) {
  BlockManager blocks(4);
  BlockChain chain;
  EXPECT_TRUE(blocks.start(chain, {}, 17));
  EXPECT_EQ(chain.blocks.size(), 2u);
  EXPECT_TRUE(blocks.grow(chain, 32));
  EXPECT_EQ(chain.blocks.size(), 2u);
  EXPECT_TRUE(blocks.grow(chain, 64));
  EXPECT_FALSE(blocks.grow(chain, 65));
  EXPECT_EQ(chain.blocks.size(), 4u);
  EXPECT_EQ(blocks.free(), 0u);
  BlockChain other;
  EXPECT_FALSE(blocks.start(other, {}, 1));
  EXPECT_TRUE(other.blocks.empty());
  expect_sound(blocks, {&chain, &other});
  blocks.release(chain);
  EXPECT_EQ(blocks.free(), 4u);
  expect_sound(blocks, {&chain});
}

TEST(BlockManager, PrefixesAreFoundInWholeBlocks) {
  BlockManager blocks(16);
  const Tokens tokens = counting(40);
  BlockChain chain = computed(blocks, tokens);
  EXPECT_EQ(blocks.published(), 2u);  // 40 tokens are two full blocks and a half
  EXPECT_EQ(found(blocks, tokens), 32u);
  EXPECT_EQ(blocks.match(tokens, "", 31).tokens(), 16u);
  EXPECT_EQ(blocks.match(tokens, "", 0).tokens(), 0u);
  EXPECT_EQ(found(blocks, counting(31)), 16u);
  Tokens changed = tokens;
  changed[20] = 7;
  EXPECT_EQ(found(blocks, changed), 16u);
  // The same tokens behind other ones are another prefix.
  EXPECT_EQ(found(blocks, Tokens(tokens.begin() + 16, tokens.end())), 0u);
  // Shared, and then each goes its way.
  BlockChain other = computed(blocks, changed);
  EXPECT_EQ(other.blocks[0], chain.blocks[0]);
  EXPECT_NE(other.blocks[1], chain.blocks[1]);
  EXPECT_EQ(blocks.used(), 5u);
  expect_sound(blocks, {&chain, &other});
  // Held by nobody, they are still found.
  blocks.release(chain);
  blocks.release(other);
  EXPECT_EQ(blocks.used(), 0u);
  EXPECT_EQ(blocks.match(tokens, "", 40).idle, 2u);
  EXPECT_EQ(found(blocks, changed), 32u);
  expect_sound(blocks, {});
}

TEST(BlockManager, SaltsDoNotMix) {
  BlockManager blocks(16);
  const Tokens tokens = counting(32);
  BlockChain a = computed(blocks, tokens, "a"), b = computed(blocks, tokens, "b");
  EXPECT_NE(a.blocks, b.blocks);
  EXPECT_EQ(found(blocks, tokens, "a"), 32u);
  EXPECT_EQ(found(blocks, tokens, "b"), 32u);
  EXPECT_EQ(found(blocks, tokens, ""), 0u);
}

TEST(BlockManager, ResetForgets) {
  BlockManager blocks(16);
  const Tokens tokens = counting(64);
  BlockChain running = computed(blocks, tokens);
  blocks.reset();
  EXPECT_EQ(found(blocks, tokens), 0u);
  // What is held stays held, but is never found again, nor is what is added to it.
  EXPECT_TRUE(blocks.grow(running, 80));
  blocks.publish(running, counting(80), 80);
  EXPECT_EQ(blocks.published(), 0u);
  expect_sound(blocks, {&running});
  blocks.release(running);
  BlockChain fresh = computed(blocks, tokens);
  EXPECT_EQ(found(blocks, tokens), 64u);
  expect_sound(blocks, {&fresh});
}

TEST(BlockManager, TwoWhoComputedTheSame) {
  BlockManager blocks(16);
  const Tokens tokens = counting(48);
  // Both began before either was known.
  BlockChain a, b;
  EXPECT_TRUE(blocks.start(a, {}, 48));
  EXPECT_TRUE(blocks.start(b, {}, 48));
  blocks.publish(a, tokens, 32);
  blocks.publish(b, tokens, 48);  // goes on where a's ends
  EXPECT_EQ(blocks.published(), 3u);
  EXPECT_EQ(blocks.match(tokens, "", 48).blocks, (Tokens{a.blocks[0], a.blocks[1], b.blocks[2]}));
  blocks.publish(a, tokens, 48);
  EXPECT_EQ(blocks.published(), 3u);
  blocks.release(a);
  EXPECT_EQ(found(blocks, tokens), 48u);
  expect_sound(blocks, {&b});
}

TEST(BlockManager, LeastRecentlyUsedGoesFirst) {
  BlockManager blocks(6);
  BlockChain a = computed(blocks, counting(32, 0)), b = computed(blocks, counting(32, 1000)),
             c = computed(blocks, counting(32, 2000));
  blocks.release(b);
  blocks.release(a);
  blocks.release(c);
  // a is used again, so that b and c are older.
  BlockChain again = computed(blocks, counting(32, 0));
  blocks.release(again);
  const auto left = [&] {
    return std::vector<std::uint64_t>{found(blocks, counting(32, 0)), found(blocks, counting(32, 1000)),
                                      found(blocks, counting(32, 2000))};
  };
  BlockChain taker;
  EXPECT_TRUE(blocks.start(taker, {}, 16));
  EXPECT_EQ(left(), (std::vector<std::uint64_t>{32, 16, 32}));  // of a chain its end first
  EXPECT_TRUE(blocks.grow(taker, 48));
  EXPECT_EQ(left(), (std::vector<std::uint64_t>{32, 0, 16}));
  // What holds nothing is taken before what may yet be found.
  blocks.release(taker);
  EXPECT_TRUE(blocks.start(taker, {}, 48));
  EXPECT_EQ(left(), (std::vector<std::uint64_t>{32, 0, 16}));
  expect_sound(blocks, {&taker});
}

TEST(BlockManager, AMatchThatIsIdleNeedsItsRoom) {
  BlockManager blocks(3);
  BlockChain chain = computed(blocks, counting(32));
  blocks.release(chain);
  const PrefixMatch match = blocks.match(counting(48), "", 48);
  EXPECT_EQ(match.idle, 2u);
  EXPECT_TRUE(blocks.fits(match, 48, 0));
  EXPECT_FALSE(blocks.fits(match, 48, 1));
  EXPECT_FALSE(blocks.fits(match, 49, 0));
  BlockChain other;
  EXPECT_FALSE(blocks.start(other, match, 49));
  EXPECT_TRUE(other.blocks.empty());
  EXPECT_TRUE(blocks.start(other, match, 48));
  expect_sound(blocks, {&other});
}

// What a block must hold: the salt and all tokens up to its end.
struct Truth {
  std::map<std::int32_t, std::pair<std::string, Tokens>> content;

  // Writes what the chain's sequence has computed.
  void write(const BlockChain& chain, const Tokens& tokens, std::size_t shared) {
    for (std::size_t i = shared; i < chain.blocks.size(); ++i) {
      const std::size_t end = std::min(tokens.size(), (i + 1) * kKvBlockTokens);
      content[chain.blocks[i]] = {chain.salt,
                                  Tokens(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(end))};
    }
  }
  // Every block of a match holds what was asked for.
  void check(const PrefixMatch& match, const Tokens& tokens, const std::string& salt) const {
    for (std::size_t i = 0; i < match.blocks.size(); ++i) {
      const Tokens wanted(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>((i + 1) * kKvBlockTokens));
      ASSERT_EQ(content.at(match.blocks[i]), std::pair(salt, wanted));
    }
  }
};

// Sequences come, grow and go; the tokens are few, so that prefixes are shared, and hashes may be cut to a few bits.
std::uint64_t random_operations(std::uint64_t seed, std::uint64_t hash_mask, std::uint64_t operations) {
  test::Random random(seed);
  BlockManager blocks(24, hash_mask);
  struct Running {
    BlockChain chain;
    Tokens tokens;
  };
  std::vector<std::unique_ptr<Running>> running;
  Truth truth;
  std::uint64_t hits = 0;
  for (std::uint64_t step = 0; step < operations; ++step) {
    const std::uint64_t what = random.below(16);
    if (what < 6) {
      auto next = std::make_unique<Running>();
      // Blocks of one repeated token out of two: short prefixes are often the same.
      for (std::uint64_t block = random.below(6) + 1; block > 0; --block) {
        next->tokens.insert(next->tokens.end(), kKvBlockTokens, static_cast<std::int32_t>(random.below(2)));
      }
      next->tokens.resize(next->tokens.size() - random.below(kKvBlockTokens));
      next->chain.salt = random.below(4) == 0 ? "salt" : "";
      const std::uint64_t limit = random.below(8) == 0 ? random.below(next->tokens.size()) : next->tokens.size() - 1;
      const PrefixMatch match = blocks.match(next->tokens, next->chain.salt, limit);
      EXPECT_LE(match.tokens(), limit);
      truth.check(match, next->tokens, next->chain.salt);
      const bool fits = blocks.fits(match, next->tokens.size(), 0);
      EXPECT_EQ(blocks.start(next->chain, match, next->tokens.size()), fits);
      if (!fits) continue;
      hits += match.tokens();
      truth.write(next->chain, next->tokens, match.blocks.size());
      blocks.publish(next->chain, next->tokens, next->tokens.size());
      running.push_back(std::move(next));
    } else if (what < 11 && !running.empty()) {
      Running& r = *running[random.below(running.size())];
      const std::size_t before = r.chain.blocks.size();
      r.tokens.push_back(static_cast<std::int32_t>(random.below(2)));
      const std::size_t full = (r.tokens.size() - 1) / kKvBlockTokens;  // blocks that this does not write to
      if (!blocks.grow(r.chain, r.tokens.size())) {
        EXPECT_EQ(blocks.free(), 0u);
        EXPECT_EQ(r.chain.blocks.size(), before);
        r.tokens.pop_back();
        continue;
      }
      truth.write(r.chain, r.tokens, full);
      blocks.publish(r.chain, r.tokens, r.tokens.size());
    } else if (what < 15 && !running.empty()) {
      const std::size_t at = random.below(running.size());
      blocks.release(running[at]->chain);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(at));
    } else if (random.below(20) == 0) {
      blocks.reset();
    }
    std::vector<const BlockChain*> chains;
    for (const auto& r : running) chains.push_back(&r->chain);
    expect_sound(blocks, chains);
    if (testing::Test::HasFailure()) return 0;
  }
  for (const auto& r : running) blocks.release(r->chain);
  EXPECT_EQ(blocks.free(), blocks.total());
  expect_sound(blocks, {});
  return hits;
}

TEST(BlockManager, RandomOperations) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    EXPECT_GT(random_operations(seed, ~std::uint64_t{0}, 2000), 1000u);
  }
}

TEST(BlockManager, CollisionsCostAHitOnly) {
  // Hashes of three bits: every other lookup finds a stranger.
  std::uint64_t hits = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(seed);
    hits += random_operations(seed, 7, 2000);
  }
  EXPECT_GT(hits, 100u);
}

}  // namespace
}  // namespace octavo::engine
