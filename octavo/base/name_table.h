// Finds names that are kept elsewhere, by their place there: a few bytes a name instead of a second copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string_view>
#include <vector>

namespace octavo {

// A hash table of numbers below 2^32 - 1. `name_of(number)` gives a number's name; it must say the same each time.
class NameTable {
 public:
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  // The number that has this name, or kNone.
  template <typename NameOf>
  std::uint32_t find(std::string_view name, const NameOf& name_of) const {
    return slots_.empty() ? kNone : slots_[slot(name, name_of)];
  }
  // Adds `number`, whose name is `name`. False when another has that name already.
  template <typename NameOf>
  bool add(std::string_view name, std::uint32_t number, const NameOf& name_of) {
    if (slots_.size() < 2 * (count_ + 1)) grow(name_of);
    std::uint32_t& place = slots_[slot(name, name_of)];
    if (place != kNone) return false;
    place = number;
    ++count_;
    return true;
  }
  std::size_t size() const { return count_; }

 private:
  // Where the name is, or where it would go.
  template <typename NameOf>
  std::size_t slot(std::string_view name, const NameOf& name_of) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = std::hash<std::string_view>()(name) & mask;
    while (slots_[i] != kNone && name_of(slots_[i]) != name) i = (i + 1) & mask;
    return i;
  }
  template <typename NameOf>
  void grow(const NameOf& name_of) {
    std::vector<std::uint32_t> old(slots_.empty() ? 16 : 2 * slots_.size(), kNone);
    old.swap(slots_);
    for (const std::uint32_t number : old) {
      if (number != kNone) slots_[slot(name_of(number), name_of)] = number;
    }
  }

  std::vector<std::uint32_t> slots_;  // a power of two, at most half of them taken
  std::size_t count_ = 0;
};

}  // namespace octavo
