// Strings packed into blocks.
#include "octavo/base/string_pool.h"

#include <algorithm>
#include <cstring>

namespace octavo {

std::string_view StringPool::add(std::string_view head, std::string_view tail) {
  constexpr std::size_t kBlock = 64 << 10;
  const std::size_t size = head.size() + tail.size();
  if (size == 0) return {};
  if (size > left_) {
    const std::size_t block = std::max(size, kBlock);
    blocks_.emplace_back(new char[block]);  // not make_unique: it would clear what nobody reads
    free_ = blocks_.back().get();
    left_ = block;
  }
  char* at = free_;
  if (!head.empty()) std::memcpy(at, head.data(), head.size());
  if (!tail.empty()) std::memcpy(at + head.size(), tail.data(), tail.size());
  free_ += size;
  left_ -= size;
  return {at, size};
}

std::string_view StringPool::intern(std::string_view text) {
  if (const auto it = interned_.find(text); it != interned_.end()) return *it;
  const std::string_view added = add(text);
  interned_.insert(added);
  return added;
}

}  // namespace octavo
