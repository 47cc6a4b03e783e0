// Which of many strings does a text start with: for longest-match symbols and for Viterbi.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace octavo::text {

// A sorted list, searched byte by byte. Immutable after building.
class PrefixIndex {
 public:
  PrefixIndex() = default;
  // Empty strings are left out; of equal strings the first counts.
  explicit PrefixIndex(std::vector<std::pair<std::string, std::int32_t>> entries);

  bool empty() const { return entries_.empty(); }

  // visit(length, value) for every entry that `text` starts with, shortest first.
  template <typename Visit>
  void for_each_prefix(std::string_view text, Visit visit) const {
    if (text.empty() || entries_.empty()) return;
    const auto byte = static_cast<unsigned char>(text[0]);
    std::size_t low = first_[byte], high = first_[byte + 1];
    // [low, high) share text[0, length).
    for (std::size_t length = 1; low < high; ++length) {
      if (entries_[low].first.size() == length) visit(length, entries_[low++].second);
      if (low == high || length == text.size()) return;
      const auto next = static_cast<unsigned char>(text[length]);
      const auto at = [&](std::size_t i) { return static_cast<unsigned char>(entries_[i].first[length]); };
      std::size_t to = high;
      while (low < to) {  // the first entry whose byte is not below `next`
        const std::size_t middle = low + (to - low) / 2;
        if (at(middle) < next) {
          low = middle + 1;
        } else {
          to = middle;
        }
      }
      std::size_t from = low;
      while (from < high) {  // the first one above it
        const std::size_t middle = from + (high - from) / 2;
        if (at(middle) <= next) {
          from = middle + 1;
        } else {
          high = middle;
        }
      }
    }
  }

  struct Match {
    std::size_t length = 0;  // 0: none
    std::int32_t value = -1;
  };
  Match longest(std::string_view text) const {
    Match best;
    for_each_prefix(text, [&](std::size_t length, std::int32_t value) { best = {length, value}; });
    return best;
  }
  bool can_start_with(char c) const {
    const auto byte = static_cast<unsigned char>(c);
    return first_[byte] < first_[byte + 1];
  }

 private:
  std::vector<std::pair<std::string, std::int32_t>> entries_;  // sorted by bytes
  std::array<std::size_t, 257> first_{};                       // first entry that begins with this byte or a higher one
};

}  // namespace octavo::text
