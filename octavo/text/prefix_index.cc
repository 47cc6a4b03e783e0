// Building the sorted list.
#include "octavo/text/prefix_index.h"

namespace octavo::text {

PrefixIndex::PrefixIndex(std::vector<std::pair<std::string, std::int32_t>> entries) : entries_(std::move(entries)) {
  std::erase_if(entries_, [](const auto& e) { return e.first.empty(); });
  // std::string compares as unsigned bytes (std::char_traits<char>).
  std::stable_sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
  for (const auto& e : entries_) ++first_[static_cast<unsigned char>(e.first[0]) + 1u];
  for (std::size_t byte = 0; byte < 256; ++byte) first_[byte + 1] += first_[byte];
}

}  // namespace octavo::text
