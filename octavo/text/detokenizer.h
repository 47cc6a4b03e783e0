// Text from ids as they come, for streaming.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "octavo/text/tokenizer.h"

namespace octavo::text {

class DecodeStream;

// Never hands out half a character, and does not decode anything twice. What push() and finish() return, joined, is
// decode() of all ids, with one exception: where a tokenizer.json has a ByteFallback decoder and a run of byte tokens
// begins with whole characters but is not UTF-8 as a whole, decode() makes all of it U+FFFD, while here the
// characters have been handed out already.
// Used by one thread; keeps the tokenizer alive.
class IncrementalDetokenizer {
 public:
  IncrementalDetokenizer(Tokenizer tokenizer, bool skip_special);
  ~IncrementalDetokenizer();
  IncrementalDetokenizer(IncrementalDetokenizer&&) noexcept;
  IncrementalDetokenizer& operator=(IncrementalDetokenizer&&) noexcept;

  // The text that the id completes, often "". An id without a token adds nothing (models have more rows than
  // tokenizers have tokens).
  std::string push(std::int32_t id);
  // The rest, with U+FFFD for a character that was never completed. No push() after it.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  std::unique_ptr<DecodeStream> stream_;
  bool skip_special_;
};

}  // namespace octavo::text
