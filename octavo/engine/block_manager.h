// The blocks of a paged KV cache: who holds them, and which prefixes they hold. Host code alone: no backend, no clock.
//
// A block holds the keys and values of kKvBlockTokens consecutive tokens of a sequence; they are a function of the
// weights and of all tokens up to the block's end. A full block can be published: found again by whoever's tokens begin
// the same way. The published blocks form a tree. A block is looked up by a hash (XXH3) of its parent's serial number
// and its own tokens, and is taken only if parent, tokens and, at the root, the salt are equal: a collision of hashes
// costs a hit, never a wrong text. Serial numbers are never given twice, so a block that was evicted cannot be mistaken
// for what its place holds later.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/engine/kv_blocks.h"

namespace octavo::engine {

// The blocks of one sequence, in order. Filled and emptied by a BlockManager.
struct BlockChain {
  std::vector<std::int32_t> blocks;
  std::string salt;  // set by the owner before the first block

  // What the manager remembers: the first `published` blocks are known to the tree, the last of them (or its equal) as
  // number `tail`. A chain of an earlier epoch publishes nothing more.
  std::uint64_t published = 0, tail = 0, epoch = 0;
};

// Published blocks that hold the beginning of some tokens.
struct PrefixMatch {
  std::vector<std::int32_t> blocks;
  std::uint64_t tail = 0;  // serial number of the last
  std::uint64_t idle = 0;  // how many of them nobody holds: taking them makes that many fewer free
  std::uint64_t tokens() const { return blocks.size() * kKvBlockTokens; }
};

// One thread at a time.
class BlockManager {
 public:
  // `hash_mask`: the bits of the hash that are used; a test of collisions uses few.
  explicit BlockManager(std::uint64_t blocks, std::uint64_t hash_mask = ~std::uint64_t{0});

  std::uint64_t total() const { return blocks_.size(); }
  std::uint64_t free() const { return free_; }  // held by nobody; published ones among them
  std::uint64_t used() const { return total() - free(); }
  std::uint64_t published() const { return tree_.size(); }  // found by match()

  // The longest published prefix of `tokens` in whole blocks, at most `limit` tokens. Changes nothing.
  PrefixMatch match(std::span<const std::int32_t> tokens, std::string_view salt, std::uint64_t limit) const;

  // Whether start() would succeed and leave `reserve` blocks free.
  bool fits(const PrefixMatch& match, std::uint64_t tokens, std::uint64_t reserve) const;
  // Gives an empty chain the match's blocks and new ones until it holds `tokens` tokens (at least the match's). False,
  // and nothing is taken, where too few are free. `match` must be of this moment.
  bool start(BlockChain& chain, const PrefixMatch& match, std::uint64_t tokens);
  // Lengthens a chain until it holds `tokens` tokens; false, and nothing is taken, where too few are free.
  bool grow(BlockChain& chain, std::uint64_t tokens);
  // Tokens [0, computed) of the chain's sequence are in its blocks, or will be after this step: its full blocks become
  // known. Where the tree has the same already, the chain's own stay its own.
  void publish(BlockChain& chain, std::span<const std::int32_t> tokens, std::uint64_t computed);
  // Gives all blocks back. Published ones stay findable until their place is needed: the one that was given back
  // longest ago goes first, of a chain its end before its beginning.
  void release(BlockChain& chain);
  // Forgets every prefix, as after new weights. Chains keep their blocks, but what they hold is never published again.
  void reset();

  // All that must hold between calls, given every chain there is: a failure says what does not. For tests.
  Status check(std::span<const BlockChain* const> chains) const;

 private:
  static constexpr std::int32_t kNone = -1;
  struct Block {
    std::uint32_t holders = 0;
    std::uint64_t serial = 0;  // 0: not published
    std::uint64_t parent = 0;  // serial number; 0: the root
    std::uint64_t key = 0;     // in tree_
    std::array<std::int32_t, kKvBlockTokens> tokens = {};
    std::string salt;                            // of a first block
    std::int32_t before = kNone, after = kNone;  // in the list of free blocks
  };

  std::uint64_t key_of(std::uint64_t parent, std::span<const std::int32_t> tokens, std::string_view salt) const;
  const Block* find(std::uint64_t parent, std::span<const std::int32_t> tokens, std::string_view salt) const;
  std::int32_t take();
  void hold(std::int32_t index);
  void give_back(std::int32_t index);
  void forget(Block& block);
  void unlink(std::int32_t index);
  void link_first(std::int32_t index);
  void link_last(std::int32_t index);

  std::vector<Block> blocks_;
  std::unordered_map<std::uint64_t, std::int32_t> tree_;  // key -> block
  std::int32_t first_free_ = kNone, last_free_ = kNone;   // the first is taken next
  std::uint64_t free_ = 0;
  std::uint64_t serials_ = 0;
  std::uint64_t hash_mask_;
  std::uint64_t epoch_ = 1;
};

}  // namespace octavo::engine
