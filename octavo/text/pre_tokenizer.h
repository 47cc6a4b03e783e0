// The `pre_tokenizer` of a tokenizer.json: cuts the normalized text into the words the model encodes.
#pragma once

#include <memory>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/text/json_field.h"
#include "octavo/text/pieces.h"

namespace octavo::text {

// One step. Leaves spans that are added tokens alone. Immutable, usable from any thread.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual Status apply(Pieces& pieces) const = 0;
};

class PreTokenizer {
 public:
  void add(std::unique_ptr<PreTokenizerStep> step) { steps_.push_back(std::move(step)); }
  Status apply(Pieces& pieces) const {
    for (const auto& step : steps_) OCTAVO_TRY(step->apply(pieces));
    return {};
  }

 private:
  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
};

// ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer,
// CharDelimiterSplit, Sequence. An error names the JSON pointer.
Result<PreTokenizer> parse_pre_tokenizer(const JsonField& field);

// Splits by a regular expression that isolates its matches, then maps bytes to characters; the pre-tokenizer of
// folders that have no tokenizer.json. An empty `regex` is GPT-2's.
Result<PreTokenizer> make_byte_level(std::string_view regex, bool add_prefix_space);

}  // namespace octavo::text
