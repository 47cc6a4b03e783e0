// The table, as ranges in order.
#include "octavo/text/unicode_additions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace octavo::text {
namespace {

struct Range {
  std::uint32_t first, last;
  std::string_view category;
};

constexpr auto kRanges = std::to_array<Range>({
#include "octavo/text/unicode_additions.inc"
});

}  // namespace

std::string_view added_category(char32_t c) {
  const auto it = std::lower_bound(kRanges.begin(), kRanges.end(), c,
                                   [](const Range& range, char32_t wanted) { return range.last < wanted; });
  return it != kRanges.end() && it->first <= c ? it->category : std::string_view();
}

std::string added_class_items(std::string_view category) {
  std::string out;
  for (std::size_t i = 0; i < kRanges.size();) {
    std::uint32_t last = kRanges[i].last;
    const std::uint32_t first = kRanges[i].first;
    const bool wanted = !category.empty() && kRanges[i].category.starts_with(category);
    for (++i; wanted && i < kRanges.size() && kRanges[i].first == last + 1 && kRanges[i].category.starts_with(category);
         ++i) {
      last = kRanges[i].last;
    }
    if (!wanted) continue;
    out += first == last ? fmt::format("\\x{{{:X}}}", first) : fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", first, last);
  }
  return out;
}

}  // namespace octavo::text
