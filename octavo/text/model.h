// What turns a word into ids: the `model` of a tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/text/pieces.h"
#include "octavo/text/vocabulary.h"

namespace octavo::text {

// Immutable after loading, usable from any thread.
class Model {
 public:
  virtual ~Model() = default;
  // Appends the ids of all pieces; an added token's piece is its id.
  virtual Status encode(const Pieces& pieces, std::vector<std::int32_t>& ids) const = 0;
};

// One id a word, or that of `unk_token`; an error where neither is in the vocabulary, which must outlive the model.
std::unique_ptr<Model> make_word_level(const Vocabulary& vocabulary, std::string unk_token);

}  // namespace octavo::text
