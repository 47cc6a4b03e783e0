// Tokens that are found in the text itself, before the model sees it: special tokens and others added to a model.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/text/normalizer.h"
#include "octavo/text/pieces.h"
#include "octavo/text/prefix_index.h"
#include "octavo/text/vocabulary.h"

namespace octavo::text {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  // only where no word character stands beside it
  bool lstrip = false;       // takes the whitespace on its left
  bool rstrip = false;       // ... on its right
  bool normalized = true;    // looked for in the normalized text, in its own normalized form
  bool special = false;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  // `normalizer` makes the forms in which normalized tokens are looked for. Of a content given twice the last counts.
  static Result<AddedTokens> make(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  // Cuts the spans at added tokens: leftmost, then longest. `normalized`: which of the two kinds.
  void split(Pieces& pieces, bool normalized) const;

  bool is_special(std::int32_t id) const;
  // What a decoder is given for the id; nothing where the id is no added token.
  const std::string* decoded(std::int32_t id) const;

 private:
  struct Token : AddedToken {
    std::string form;  // content, or its normalized form
  };
  void split_span(const Pieces& pieces, const Span& span, const PrefixIndex& index, std::vector<Span>& out) const;

  std::vector<Token> tokens_;
  std::unordered_map<std::int32_t, std::size_t> by_id_;
  PrefixIndex raw_, normalized_;  // values index tokens_
};

}  // namespace octavo::text
