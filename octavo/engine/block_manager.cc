// A list of free blocks in the order they will be taken, and a tree of published ones.
#include "octavo/engine/block_manager.h"

#include <algorithm>

#include "octavo/base/hash.h"

namespace octavo::engine {
namespace {

std::span<const std::int32_t> block_of(std::span<const std::int32_t> tokens, std::uint64_t index) {
  return tokens.subspan(index * kKvBlockTokens, kKvBlockTokens);
}

}  // namespace

BlockManager::BlockManager(std::uint64_t blocks, std::uint64_t hash_mask) : blocks_(blocks), hash_mask_(hash_mask) {
  for (std::size_t i = 0; i < blocks_.size(); ++i) link_last(static_cast<std::int32_t>(i));
}

// Where a block with this parent and these tokens stands in the tree. At the root the salt is its parent.
std::uint64_t BlockManager::key_of(std::uint64_t parent, std::span<const std::int32_t> tokens,
                                   std::string_view salt) const {
  const std::uint64_t seed = parent != 0 ? parent : hash64(std::as_bytes(std::span(salt)));
  return hash64(std::as_bytes(tokens), seed) & hash_mask_;
}

const BlockManager::Block* BlockManager::find(std::uint64_t parent, std::span<const std::int32_t> tokens,
                                              std::string_view salt) const {
  const auto found = tree_.find(key_of(parent, tokens, salt));
  if (found == tree_.end()) return nullptr;
  const Block& block = blocks_[static_cast<std::size_t>(found->second)];
  const bool same =
      block.parent == parent && std::ranges::equal(block.tokens, tokens) && (parent != 0 || block.salt == salt);
  return same ? &block : nullptr;
}

PrefixMatch BlockManager::match(std::span<const std::int32_t> tokens, std::string_view salt,
                                std::uint64_t limit) const {
  PrefixMatch out;
  const std::uint64_t most = std::min<std::uint64_t>(tokens.size(), limit) / kKvBlockTokens;
  for (std::uint64_t i = 0; i < most; ++i) {
    const Block* block = find(out.tail, block_of(tokens, i), salt);
    if (block == nullptr) break;
    out.blocks.push_back(static_cast<std::int32_t>(block - blocks_.data()));
    out.tail = block->serial;
    if (block->holders == 0) ++out.idle;
  }
  return out;
}

bool BlockManager::fits(const PrefixMatch& match, std::uint64_t tokens, std::uint64_t reserve) const {
  const std::uint64_t blocks = kv_blocks_for(std::max(tokens, match.tokens()));
  return blocks - match.blocks.size() + match.idle + reserve <= free_;
}

bool BlockManager::start(BlockChain& chain, const PrefixMatch& match, std::uint64_t tokens) {
  if (!fits(match, tokens, 0)) return false;
  for (const std::int32_t block : match.blocks) hold(block);
  chain.blocks = match.blocks;
  chain.published = match.blocks.size();
  chain.tail = match.tail;
  chain.epoch = epoch_;
  return grow(chain, tokens);
}

bool BlockManager::grow(BlockChain& chain, std::uint64_t tokens) {
  const std::uint64_t wanted = kv_blocks_for(tokens);
  if (wanted > chain.blocks.size() + free_) return false;
  while (chain.blocks.size() < wanted) chain.blocks.push_back(take());
  return true;
}

void BlockManager::publish(BlockChain& chain, std::span<const std::int32_t> tokens, std::uint64_t computed) {
  if (chain.epoch != epoch_) return;
  const std::uint64_t full = std::min<std::uint64_t>(computed / kKvBlockTokens, chain.blocks.size());
  for (; chain.published < full; ++chain.published) {
    const std::span<const std::int32_t> own = block_of(tokens, chain.published);
    if (const Block* same = find(chain.tail, own, chain.salt)) {
      chain.tail = same->serial;
      continue;
    }
    const std::int32_t index = chain.blocks[chain.published];
    Block& block = blocks_[static_cast<std::size_t>(index)];
    const std::uint64_t key = key_of(chain.tail, own, chain.salt);
    if (!tree_.emplace(key, index).second) {
      chain.epoch = 0;  // another's place: this prefix stays unknown, and what follows it too
      return;
    }
    block.serial = ++serials_;
    block.parent = chain.tail;
    block.key = key;
    std::ranges::copy(own, block.tokens.begin());
    if (block.parent == 0) block.salt = chain.salt;
    chain.tail = block.serial;
  }
}

void BlockManager::release(BlockChain& chain) {
  // Its end first: a beginning is of use without its end, but not the other way round.
  for (std::size_t i = chain.blocks.size(); i > 0; --i) give_back(chain.blocks[i - 1]);
  chain.blocks.clear();
  chain.published = chain.tail = chain.epoch = 0;
}

void BlockManager::reset() {
  tree_.clear();
  for (Block& block : blocks_) {
    block.serial = 0;
    block.salt.clear();
  }
  ++epoch_;
}

// The free block that was given back longest ago; what it held is forgotten.
std::int32_t BlockManager::take() {
  const std::int32_t index = first_free_;
  forget(blocks_[static_cast<std::size_t>(index)]);
  hold(index);
  return index;
}

void BlockManager::hold(std::int32_t index) {
  Block& block = blocks_[static_cast<std::size_t>(index)];
  if (block.holders++ == 0) unlink(index);
}

void BlockManager::give_back(std::int32_t index) {
  Block& block = blocks_[static_cast<std::size_t>(index)];
  if (--block.holders > 0) return;
  if (block.serial != 0) {
    link_last(index);
  } else {
    link_first(index);  // nothing is lost by taking it
  }
}

void BlockManager::forget(Block& block) {
  if (block.serial == 0) return;
  tree_.erase(block.key);
  block.serial = 0;
  block.salt.clear();
}

void BlockManager::unlink(std::int32_t index) {
  Block& block = blocks_[static_cast<std::size_t>(index)];
  (block.before == kNone ? first_free_ : blocks_[static_cast<std::size_t>(block.before)].after) = block.after;
  (block.after == kNone ? last_free_ : blocks_[static_cast<std::size_t>(block.after)].before) = block.before;
  block.before = block.after = kNone;
  --free_;
}

void BlockManager::link_first(std::int32_t index) {
  Block& block = blocks_[static_cast<std::size_t>(index)];
  block.after = first_free_;
  (first_free_ == kNone ? last_free_ : blocks_[static_cast<std::size_t>(first_free_)].before) = index;
  first_free_ = index;
  ++free_;
}

void BlockManager::link_last(std::int32_t index) {
  Block& block = blocks_[static_cast<std::size_t>(index)];
  block.before = last_free_;
  (last_free_ == kNone ? first_free_ : blocks_[static_cast<std::size_t>(last_free_)].after) = index;
  last_free_ = index;
  ++free_;
}

Status BlockManager::check(std::span<const BlockChain* const> chains) const {
  std::vector<std::uint32_t> holders(blocks_.size());
  for (const BlockChain* chain : chains) {
    std::vector<std::int32_t> sorted = chain->blocks;
    std::ranges::sort(sorted);
    if (std::ranges::adjacent_find(sorted) != sorted.end()) return failure("a chain holds a block twice");
    for (const std::int32_t block : chain->blocks) ++holders.at(static_cast<std::size_t>(block));
  }
  std::uint64_t free = 0, known = 0;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    if (block.holders != holders[i]) return failure("block {} has {} holders, not {}", i, holders[i], block.holders);
    if (block.holders == 0) ++free;
    if (block.serial == 0) continue;
    ++known;
    const auto found = tree_.find(block.key);
    if (found == tree_.end() || found->second != static_cast<std::int32_t>(i)) {
      return failure("block {} is published, but not in the tree", i);
    }
    if (block.parent >= block.serial) return failure("block {} is older than its parent", i);
  }
  if (known != tree_.size()) return failure("{} blocks are published, but the tree has {}", known, tree_.size());
  std::uint64_t listed = 0;
  for (std::int32_t i = first_free_, before = kNone; i != kNone; ++listed) {
    const Block& block = blocks_.at(static_cast<std::size_t>(i));
    if (block.holders != 0) return failure("block {} is held and free", i);
    if (block.before != before || listed > blocks_.size()) return failure("the list of free blocks is broken at {}", i);
    before = i;
    i = block.after;
    if (i == kNone && last_free_ != before) return failure("the list of free blocks does not end at its end");
  }
  if (free != listed || free != free_) return failure("{} blocks are free, {} listed, {} counted", free, listed, free_);
  return {};
}

}  // namespace octavo::engine
