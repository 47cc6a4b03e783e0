// SentencePiece's precompiled normalization rules: a Darts-clone double array of UTF-8 prefixes to replacements.
// Layout: u32 size of the array in bytes, the array (u32 units), the replacements, each ended by a zero byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"

namespace octavo::text {

class Charsmap {
 public:
  Charsmap() = default;  // no rule
  static Result<Charsmap> parse(std::string_view blob);

  bool empty() const { return units_.empty(); }

  struct Rule {
    std::size_t length = 0;  // bytes of the text that the rule replaces
    std::string_view replacement;
  };
  // The longest (SentencePiece) or the shortest (the tokenizers library) prefix of `text` that has a rule.
  std::optional<Rule> longest(std::string_view text) const;
  std::optional<Rule> shortest(std::string_view text) const;

 private:
  std::optional<Rule> find(std::string_view text, bool first) const;
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace octavo::text
