// tokenizer.json and tokenizer_config.json from the tokenizer.* metadata of a GGUF file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/gguf/container.h"
#include "octavo/checkpoint/gguf/model.h"

namespace octavo {

// token_type of ggml.
enum class GgufTokenKind : std::uint8_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct GgufToken {
  std::uint32_t id = 0;
  GgufTokenKind kind = GgufTokenKind::kNormal;
  std::string_view text;  // into the GgufFile; valid UTF-8
};

// The checked vocabulary. Views point into the GgufFile, which must outlive it.
struct GgufVocabulary {
  bool byte_level = true;         // tokenizer.ggml.model "gpt2"; false: "llama", a SentencePiece BPE
  std::string pre;                // how text is split before BPE (byte_level)
  std::vector<GgufToken> tokens;  // by id, without the padding tokens and without repeated ones
  std::unordered_map<std::string_view, std::uint32_t> ids;
  const GgufArray* merges = nullptr;                   // "left right"; null when absent
  const GgufArray* scores = nullptr;                   // one a token; null when absent
  std::optional<std::string_view> bos, eos, pad, unk;  // as text; only tokens of the vocabulary
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = true;  // SentencePiece only
};

// nullopt (and a note) when the file has no tokenizer.
Result<std::optional<GgufVocabulary>> read_gguf_vocabulary(const GgufFile& file, const GgufModel& model,
                                                           std::vector<std::string>& notes);

// The text of tokenizer.json. Fails when the merges cannot be had or the pre-tokenizer is not known.
Result<std::string> make_tokenizer_json(const GgufFile& file, const GgufVocabulary& vocabulary,
                                        std::vector<std::string>& notes);

// tokenizer_config.json, with the chat template when the file has one.
Result<Json> make_tokenizer_config(const GgufFile& file, const GgufVocabulary& vocabulary, const GgufModel& model);

// Merges of a SentencePiece BPE, which has scores instead: every way to split a token into two others, best score
// first, as transformers' converter orders them.
using Merge = std::pair<std::string_view, std::string_view>;
Result<std::vector<Merge>> merges_from_scores(const GgufVocabulary& vocabulary, std::string_view origin);

}  // namespace octavo
