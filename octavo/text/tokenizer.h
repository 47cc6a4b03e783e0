// Text to token ids and back: tokenizer.json, vocab.json with merges.txt, and SentencePiece models.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"

namespace octavo::text {

struct Pipeline;

struct EncodeOptions {
  bool add_special = true;  // BOS, EOS and what else the tokenizer puts around a text
};

// Immutable after loading, cheap to copy, usable from any thread.
class Tokenizer {
 public:
  // `path` is a model folder, a tokenizer.json, or a SentencePiece model; files are recognised by their content.
  // In a folder tokenizer.json comes first, then vocab.json with merges.txt, then tokenizer.model.
  // An error names the file, and the JSON pointer or line in it.
  static Result<Tokenizer> load(const std::filesystem::path& path);
  // The content of a tokenizer.json or of a SentencePiece model; `origin` starts the messages.
  static Result<Tokenizer> parse(std::string_view bytes, std::string_view origin);

  // Special tokens spelled in the text become their ids, with and without add_special. Text that is not valid UTF-8 is
  // an error with the byte offset.
  Result<std::vector<std::int32_t>> encode(std::string_view text, EncodeOptions options = {}) const;
  // As the tokenizers library's (or SentencePiece's) decode. An id without a token is an error.
  Result<std::string> decode(std::span<const std::int32_t> ids, bool skip_special) const;

  std::int32_t vocab_size() const;  // largest id + 1; ids below it may have no token
  std::optional<std::int32_t> token_id(std::string_view token) const;
  // The token as the file spells it, e.g. "Ġthe"; nothing where the id has none. Lives as long as the tokenizer.
  std::optional<std::string_view> token_text(std::int32_t id) const;
  bool is_special(std::int32_t id) const;
  // From tokenizer_config.json, special_tokens_map.json or the SentencePiece model, where they say.
  std::optional<std::int32_t> bos_id() const;
  std::optional<std::int32_t> eos_id() const;

 private:
  friend class IncrementalDetokenizer;
  explicit Tokenizer(std::shared_ptr<const Pipeline> pipeline) : pipeline_(std::move(pipeline)) {}
  std::shared_ptr<const Pipeline> pipeline_;
};

}  // namespace octavo::text
