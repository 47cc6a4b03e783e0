// Lists of module or tensor names as people write them: exact names, "re:" regular expressions (anchored at the
// start, as Python's re.match), and globs where the list allows them. Thousands of exact names cost one hash look-up.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "octavo/base/status.h"

namespace octavo {

class NameMatcher {
 public:
  NameMatcher() = default;  // matches nothing

  // With `globs`, an entry that holds * ? or [ is a glob of the whole name. A malformed "re:" is a usage error.
  static Result<NameMatcher> compile(const std::vector<std::string>& entries, bool globs);

  // The index of the first entry that matches `name`. An error when a regular expression exceeds its effort limit.
  Result<std::optional<std::size_t>> first_match(std::string_view name) const;
  Result<bool> matches(std::string_view name) const;
  bool empty() const { return exact_.empty() && patterns_.empty(); }

 private:
  class Regex;
  struct Pattern {
    std::size_t index;
    std::string glob;  // when regex is null
    std::shared_ptr<const Regex> regex;
  };
  std::unordered_map<std::string, std::size_t> exact_;  // entry -> its index
  std::vector<Pattern> patterns_;
};

}  // namespace octavo
