// Finding out what a path is, and the two directions.
#include "octavo/text/tokenizer.h"

#include "octavo/base/file.h"
#include "octavo/base/text.h"
#include "octavo/text/pipeline.h"
#include "octavo/text/sentencepiece.h"
#include "octavo/text/tokenizer_config.h"
#include "octavo/text/tokenizer_json.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

constexpr std::uint64_t kLargestFile = 512 << 20;

bool looks_like_json(std::string_view bytes) {
  const std::size_t first = bytes.find_first_not_of(" \t\r\n");
  return first != bytes.npos && (bytes[first] == '{' || bytes[first] == '[');
}

Result<std::unique_ptr<Pipeline>> parse_bytes(std::string_view bytes, std::string_view origin,
                                              const TokenizerConfig& config) {
  if (looks_like_json(bytes)) return parse_tokenizer_json(bytes, origin);
  return parse_sentencepiece(bytes, config).context(origin);
}

// BOS and EOS by tokenizer_config.json. A template in tokenizer.json says it already and is the truth.
Status apply_config(const TokenizerConfig& config, Pipeline& pipeline) {
  const auto id_of = [&](const std::optional<std::string>& token) {
    return token ? pipeline.vocabulary.find(*token) : std::nullopt;
  };
  if (const auto bos = id_of(config.bos_token)) pipeline.bos = bos;
  if (const auto eos = id_of(config.eos_token)) pipeline.eos = eos;
  if (pipeline.post_processor.has_template()) return {};
  const bool bos = config.add_bos_token.value_or(false), eos = config.add_eos_token.value_or(false);
  if (!bos && !eos) return {};
  PostProcessor::Template form;
  if (bos && pipeline.bos) form.push_back({*pipeline.bos});
  form.emplace_back();
  if (eos && pipeline.eos) form.push_back({*pipeline.eos});
  pipeline.post_processor.add(std::move(form));
  return {};
}

Result<std::unique_ptr<Pipeline>> load_folder(const std::filesystem::path& folder) {
  OCTAVO_ASSIGN(const TokenizerConfig config, read_tokenizer_config(folder));
  const auto exists = [&](std::string_view name) { return std::filesystem::exists(folder / name); };
  std::unique_ptr<Pipeline> out;
  if (exists("tokenizer.json")) {
    const std::string path = (folder / "tokenizer.json").string();
    OCTAVO_ASSIGN(const std::string bytes, read_text_file(path, kLargestFile));
    OCTAVO_ASSIGN(out, parse_tokenizer_json(bytes, path));
  } else if (exists("vocab.json") && exists("merges.txt")) {
    OCTAVO_ASSIGN(out, load_vocab_and_merges(folder, config));
  } else if (exists("tokenizer.model")) {
    const std::string path = (folder / "tokenizer.model").string();
    OCTAVO_ASSIGN(const std::string bytes, read_text_file(path, kLargestFile));
    OCTAVO_ASSIGN(out, parse_bytes(bytes, path, config));
  } else {
    return failure("{}: no tokenizer.json, no vocab.json with merges.txt, no tokenizer.model", folder.string());
  }
  OCTAVO_TRY(apply_config(config, *out).context(folder.string()));
  return out;
}

}  // namespace

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    OCTAVO_ASSIGN(auto pipeline, load_folder(path));
    return Tokenizer(std::move(pipeline));
  }
  OCTAVO_ASSIGN(const std::string bytes, read_text_file(path, kLargestFile));
  return parse(bytes, path.string());
}

Result<Tokenizer> Tokenizer::parse(std::string_view bytes, std::string_view origin) {
  OCTAVO_ASSIGN(auto pipeline, parse_bytes(bytes, origin, TokenizerConfig()));
  return Tokenizer(std::move(pipeline));
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (const auto offset = invalid_utf8_offset(text)) {
    return failure("the text is not valid UTF-8 at byte {} (0x{:02X})", *offset,
                   static_cast<unsigned char>(text[*offset]));
  }
  return pipeline_->encode(text, options.add_special);
}

Result<std::string> Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string out;
  const auto stream = pipeline_->decoder->start(/*eager=*/false);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!pipeline_->vocabulary.has(ids[i])) {
      return failure("id {} at position {} has no token; the vocabulary ends at {}", ids[i], i, vocab_size() - 1);
    }
    if (skip_special && pipeline_->is_skipped(ids[i])) continue;
    stream->push(ids[i], pipeline_->decoded(ids[i]), out);
  }
  stream->finish(out);
  return out;
}

std::int32_t Tokenizer::vocab_size() const { return pipeline_->vocabulary.size(); }

std::optional<std::int32_t> Tokenizer::token_id(std::string_view token) const {
  return pipeline_->vocabulary.find(token);
}

std::optional<std::string_view> Tokenizer::token_text(std::int32_t id) const {
  if (!pipeline_->vocabulary.has(id)) return std::nullopt;
  return pipeline_->vocabulary.token(id);
}

bool Tokenizer::is_special(std::int32_t id) const { return pipeline_->is_special(id); }
std::optional<std::int32_t> Tokenizer::bos_id() const { return pipeline_->bos; }
std::optional<std::int32_t> Tokenizer::eos_id() const { return pipeline_->eos; }

}  // namespace octavo::text
