// Which blocks of a KV cache are free. A sequence's chain of blocks is a list of numbers; the cache knows no owners.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/base/ceil_div.h"

namespace octavo::engine {

inline constexpr std::uint64_t kKvBlockTokens = 16;  // tokens a block

constexpr std::uint64_t kv_blocks_for(std::uint64_t tokens) { return ceil_div(tokens, kKvBlockTokens); }

// Hands out the blocks [0, count): the smallest numbers first while none has been given back.
class KvBlocks {
 public:
  explicit KvBlocks(std::uint64_t count) {
    for (std::uint64_t block = count; block > 0; --block) free_.push_back(static_cast<std::int32_t>(block - 1));
  }

  std::uint64_t free() const { return free_.size(); }

  // Lengthens `chain` until it holds `tokens` tokens. False, and nothing is taken, when too few blocks are free.
  bool grow(std::vector<std::int32_t>& chain, std::uint64_t tokens) {
    const std::uint64_t wanted = kv_blocks_for(tokens);
    if (wanted > chain.size() + free_.size()) return false;
    while (chain.size() < wanted) {
      chain.push_back(free_.back());
      free_.pop_back();
    }
    return true;
  }

  void give_back(std::vector<std::int32_t>& chain) {
    free_.insert(free_.end(), chain.begin(), chain.end());
    chain.clear();
  }

 private:
  std::vector<std::int32_t> free_;  // taken from its end
};

}  // namespace octavo::engine
