// The stages of a loaded tokenizer. Every file format becomes one of these.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/text/added_tokens.h"
#include "octavo/text/decoder.h"
#include "octavo/text/model.h"
#include "octavo/text/normalizer.h"
#include "octavo/text/post_processor.h"
#include "octavo/text/pre_tokenizer.h"
#include "octavo/text/vocabulary.h"

namespace octavo::text {

// Stays where it is (the model refers to the vocabulary); immutable once loaded.
struct Pipeline {
  Pipeline() = default;
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  Vocabulary vocabulary;  // of the model, and all added tokens
  AddedTokens added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<Model> model;
  PostProcessor post_processor;
  std::unique_ptr<Decoder> decoder;
  std::unordered_set<std::int32_t> control;  // special though not added: SentencePiece's control symbols
  bool control_is_text = true;               // false: the decoder makes nothing of them anyway
  std::optional<std::int32_t> bos, eos;

  // `text` must be valid UTF-8.
  Result<std::vector<std::int32_t>> encode(std::string_view text, bool add_special) const;
  bool is_special(std::int32_t id) const { return added.is_special(id) || control.contains(id); }
  // Whether skip_special leaves the id out.
  bool is_skipped(std::int32_t id) const { return added.is_special(id) || (control_is_text && control.contains(id)); }
  // What the decoder is given for an id of the vocabulary.
  std::string_view decoded(std::int32_t id) const {
    const std::string* form = added.decoded(id);
    return form != nullptr ? std::string_view(*form) : vocabulary.token(id);
  }
};

}  // namespace octavo::text
