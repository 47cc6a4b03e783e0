// The `normalizer` of a tokenizer.json: what happens to a text before it is cut.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/text/json_field.h"
#include "octavo/text/regex.h"

namespace octavo::text {

// A normalizer of a hostile file could make a text grow without end: it may become 18 times as long (as NFKC may make
// it), or this long.
inline constexpr std::size_t kMostNormalized = std::size_t{4} << 20;
Status check_growth(std::size_t before, std::size_t after);

// One step. Immutable, usable from any thread.
class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  // `text` is valid UTF-8 and stays so. `at_start`: see Span; cleared when the first character is dropped.
  virtual Status apply(std::string& text, bool& at_start) const = 0;
};

class Normalizer {
 public:
  void add(std::unique_ptr<NormalizerStep> step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }
  Status apply(std::string& text, bool& at_start) const {
    const std::size_t before = text.size();
    for (const auto& step : steps_) {
      OCTAVO_TRY(step->apply(text, at_start));
      OCTAVO_TRY(check_growth(before, text.size()));
    }
    return {};
  }

 private:
  std::vector<std::unique_ptr<NormalizerStep>> steps_;
};

// NFC, NFD, NFKC, NFKD, Lowercase, Nmt, Strip, StripAccents, Prepend, Replace, ByteLevel, Precompiled, Sequence.
// An error names the JSON pointer.
Result<Normalizer> parse_normalizer(const JsonField& field);
std::unique_ptr<NormalizerStep> make_nfc();

// {"String": ...} or {"Regex": ...}, as normalizers, pre-tokenizers and decoders write a pattern.
Result<Regex> parse_pattern(const JsonField& field);

// Each byte as the character that GPT-2's byte-level BPE gives it.
void append_byte_level(std::string_view bytes, std::string& out);
// The byte that a byte-level character stands for, or -1.
int byte_of_level(char32_t c);

}  // namespace octavo::text
