// Reads and checks the vocabulary, and makes tokenizer_config.json.
#include <algorithm>
#include <charconv>

#include "octavo/base/text.h"
#include "octavo/checkpoint/gguf/pre_tokenizer.h"
#include "octavo/checkpoint/gguf/tokenizer.h"

namespace octavo {
namespace {

constexpr std::size_t kMaxTokens = 1u << 20;  // four times the largest vocabulary in use

// Converters fill a vocabulary up to the matrix's rows with "[PAD151936]", the number being the id.
bool is_padding(std::string_view text, std::size_t id) {
  if (!text.starts_with("[PAD") || !text.ends_with("]")) return false;
  text = text.substr(4, text.size() - 5);
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() && number == id;
}

Result<const GgufArray*> array_of(const GgufFile& file, std::string_view key, std::size_t size) {
  OCTAVO_ASSIGN(const GgufArray* array, file.numbers(key));
  if (array != nullptr && array->size() != size) {
    return failure("{}: {} has {} entries for {} tokens", file.origin, key, array->size(), size);
  }
  return array;
}

Status read_tokens(const GgufFile& file, const GgufModel& model, GgufVocabulary& vocabulary,
                   std::vector<std::string>& notes) {
  OCTAVO_ASSIGN(const GgufArray* tokens, file.strings("tokenizer.ggml.tokens"));
  if (tokens == nullptr) return failure("{}: metadata key 'tokenizer.ggml.tokens' is missing", file.origin);
  if (tokens->size() > model.vocab || tokens->size() > kMaxTokens) {
    return failure("{}: {} tokens for an embedding of {} rows (at most {} are read)", file.origin, tokens->size(),
                   model.vocab, kMaxTokens);
  }
  OCTAVO_ASSIGN(const GgufArray* kinds, array_of(file, "tokenizer.ggml.token_type", tokens->size()));
  OCTAVO_ASSIGN(vocabulary.scores, array_of(file, "tokenizer.ggml.scores", tokens->size()));
  vocabulary.tokens.reserve(tokens->size());
  vocabulary.ids.reserve(tokens->size());
  std::size_t repeated = 0;
  for (std::size_t id = 0; id < tokens->size(); ++id) {
    const std::string_view text = tokens->string(id);
    if (!is_valid_utf8(text)) {
      return failure("{}: token {} ('{}') is not valid UTF-8", file.origin, id, printable(text));
    }
    const double kind = kinds == nullptr ? 1.0 : kinds->number(id);
    if (!(kind >= 0.0 && kind <= 6.0)) {
      return failure("{}: token {} ('{}') has the unknown token type {}", file.origin, id, printable(text), kind);
    }
    if (is_padding(text, id)) continue;
    if (!vocabulary.ids.emplace(text, static_cast<std::uint32_t>(id)).second) {
      ++repeated;
      continue;
    }
    // 0 is "undefined", which llama.cpp takes as normal.
    vocabulary.tokens.push_back(
        {static_cast<std::uint32_t>(id), static_cast<GgufTokenKind>(std::max(1.0, kind)), text});
  }
  if (repeated > 0) {
    notes.push_back(
        fmt::format("{} tokens repeat the text of an earlier one and are left out of tokenizer.json", repeated));
  }
  return {};
}

// The text of the token whose id stands under `key`; nullopt when there is none or it is not in the vocabulary.
Result<std::optional<std::string_view>> named_token(const GgufFile& file, const GgufVocabulary& vocabulary,
                                                    std::string_view key) {
  OCTAVO_ASSIGN(const auto id, file.natural(key));
  if (!id) return std::optional<std::string_view>{};
  const auto found = std::lower_bound(vocabulary.tokens.begin(), vocabulary.tokens.end(), *id,
                                      [](const GgufToken& token, std::uint64_t wanted) { return token.id < wanted; });
  if (found == vocabulary.tokens.end() || found->id != *id) return std::optional<std::string_view>{};
  return std::optional(found->text);
}

Status read_special(const GgufFile& file, GgufVocabulary& vocabulary, std::vector<std::string>& notes) {
  OCTAVO_ASSIGN(vocabulary.bos, named_token(file, vocabulary, "tokenizer.ggml.bos_token_id"));
  OCTAVO_ASSIGN(vocabulary.eos, named_token(file, vocabulary, "tokenizer.ggml.eos_token_id"));
  OCTAVO_ASSIGN(vocabulary.pad, named_token(file, vocabulary, "tokenizer.ggml.padding_token_id"));
  OCTAVO_ASSIGN(vocabulary.unk, named_token(file, vocabulary, "tokenizer.ggml.unknown_token_id"));
  for (GgufToken& token : vocabulary.tokens) {
    if (token.kind == GgufTokenKind::kUnknown && !vocabulary.unk) vocabulary.unk = token.text;
    // Some converters forget that these are control tokens.
    if (token.text == vocabulary.bos || token.text == vocabulary.eos) token.kind = GgufTokenKind::kControl;
  }
  // The defaults are llama.cpp's.
  const bool bos_by_default = !vocabulary.byte_level || find_pre_tokenizer(vocabulary.pre)->add_bos;
  OCTAVO_ASSIGN(const auto add_bos, file.boolean("tokenizer.ggml.add_bos_token"));
  OCTAVO_ASSIGN(const auto add_eos, file.boolean("tokenizer.ggml.add_eos_token"));
  OCTAVO_ASSIGN(const auto space, file.boolean("tokenizer.ggml.add_space_prefix"));
  vocabulary.add_bos = add_bos.value_or(bos_by_default);
  vocabulary.add_eos = add_eos.value_or(false);
  vocabulary.add_space_prefix = space.value_or(true);
  for (const auto& [flag, token, name] : {std::tuple(&vocabulary.add_bos, &vocabulary.bos, "bos"),
                                          std::tuple(&vocabulary.add_eos, &vocabulary.eos, "eos")}) {
    if (!*flag || *token) continue;
    notes.push_back(fmt::format("add_{}_token is set but no {} token is named: none will be added", name, name));
    *flag = false;
  }
  return {};
}

}  // namespace

Result<std::optional<GgufVocabulary>> read_gguf_vocabulary(const GgufFile& file, const GgufModel& model,
                                                           std::vector<std::string>& notes) {
  OCTAVO_ASSIGN(const auto kind, file.string("tokenizer.ggml.model"));
  if (!kind || *kind == "no_vocab" || *kind == "none") {
    notes.emplace_back("the file has no tokenizer: copy tokenizer.json from the original model");
    return std::optional<GgufVocabulary>{};
  }
  GgufVocabulary vocabulary;
  vocabulary.byte_level = *kind == "gpt2";
  if (!vocabulary.byte_level && *kind != "llama") {
    return failure("{}: tokenizer.ggml.model '{}' is not supported; Octavo reads gpt2 and llama", file.origin,
                   printable(*kind));
  }
  if (vocabulary.byte_level) {
    OCTAVO_ASSIGN(const auto pre, file.string("tokenizer.ggml.pre"));
    if (!pre) notes.emplace_back("tokenizer.ggml.pre is missing: GPT-2's way to split text is taken");
    vocabulary.pre = pre.value_or("default");
    if (find_pre_tokenizer(vocabulary.pre) == nullptr) {
      return failure("{}: tokenizer.ggml.pre '{}' is not supported; Octavo knows {}", file.origin,
                     printable(vocabulary.pre), pre_tokenizer_names());
    }
  }
  OCTAVO_TRY(read_tokens(file, model, vocabulary, notes));
  OCTAVO_TRY(read_special(file, vocabulary, notes));
  OCTAVO_ASSIGN(vocabulary.merges, file.strings("tokenizer.ggml.merges"));
  return std::optional(std::move(vocabulary));
}

Result<Json> make_tokenizer_config(const GgufFile& file, const GgufVocabulary& vocabulary, const GgufModel& model) {
  const auto text = [](const std::optional<std::string_view>& token) { return token ? Json(*token) : Json(); };
  Json config;
  config["add_bos_token"] = vocabulary.add_bos;
  config["add_eos_token"] = vocabulary.add_eos;
  config["bos_token"] = text(vocabulary.bos);
  OCTAVO_ASSIGN(const auto chat_template, file.string("tokenizer.chat_template"));
  if (chat_template) config["chat_template"] = *chat_template;
  config["clean_up_tokenization_spaces"] = false;
  config["eos_token"] = text(vocabulary.eos);
  config["model_max_length"] = model.context;
  config["pad_token"] = text(vocabulary.pad);
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["unk_token"] = text(vocabulary.unk);
  return config;
}

}  // namespace octavo
