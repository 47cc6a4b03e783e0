// Folders without tokenizer.json: vocab.json, merges.txt, and the class that says how to cut text.
#include <algorithm>
#include <array>

#include "octavo/base/file.h"
#include "octavo/base/text.h"
#include "octavo/text/bpe.h"
#include "octavo/text/tokenizer_json.h"

namespace octavo::text {
namespace {

constexpr std::uint64_t kLargestFile = 256 << 20;

struct TokenizerClass {
  std::string_view name;
  std::string_view regex;  // "": GPT-2's
  bool nfc;
};

// The pipelines that transformers builds for these classes.
constexpr auto kClasses = std::to_array<TokenizerClass>({
    {"Qwen2Tokenizer",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     true},
    {"GPT2Tokenizer", "", false},
    {"CodeGenTokenizer", "", false},
});

class VocabularyReader final : public JsonEvents {
 public:
  explicit VocabularyReader(Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  Status null() override { return wrong(); }
  Status boolean(bool) override { return wrong(); }
  Status integer(std::int64_t v) override { return inside_ ? vocabulary_.add(token_, v) : Status(wrong()); }
  Status natural(std::uint64_t v) override {
    return integer(static_cast<std::int64_t>(std::min<std::uint64_t>(v, INT64_MAX)));
  }
  Status real(double) override { return wrong(); }
  Status string(std::string&) override { return wrong(); }
  Status begin_object() override {
    if (inside_) return wrong();
    inside_ = true;
    return {};
  }
  Status key(std::string& name) override {
    token_ = std::move(name);
    return {};
  }
  Status end_object() override { return {}; }
  Status begin_array() override { return wrong(); }
  Status end_array() override { return wrong(); }

 private:
  static Error wrong() { return failure("must be an object that maps tokens to ids"); }
  Vocabulary& vocabulary_;
  std::string token_;
  bool inside_ = false;
};

Status read_merges(const std::filesystem::path& path, MergeList& merges) {
  OCTAVO_ASSIGN(const std::string text, read_text_file(path, kLargestFile));
  std::size_t number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    OCTAVO_TRY(merges.add_line(line).context(fmt::format("{}:{}", path.string(), number)));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Pipeline>> load_vocab_and_merges(const std::filesystem::path& folder,
                                                        const TokenizerConfig& config) {
  const auto known = std::find_if(kClasses.begin(), kClasses.end(),
                                  [&](const TokenizerClass& c) { return c.name == config.tokenizer_class; });
  if (known == kClasses.end()) {
    std::string names;
    for (const TokenizerClass& c : kClasses) names += fmt::format("{}{}", names.empty() ? "" : ", ", c.name);
    const std::string said = config.tokenizer_class.empty()
                                 ? std::string("no tokenizer_class in tokenizer_config.json")
                                 : fmt::format("tokenizer_class \"{}\"", printable(config.tokenizer_class));
    return failure(
        "{}: there is no tokenizer.json, and {} does not say how to use vocab.json (known: {}); add the "
        "tokenizer.json that AutoTokenizer.save_pretrained writes",
        folder.string(), said, names);
  }
  auto out = std::make_unique<Pipeline>();
  const auto vocab_path = folder / "vocab.json", merges_path = folder / "merges.txt";
  OCTAVO_ASSIGN(const std::string vocab, read_text_file(vocab_path, kLargestFile));
  VocabularyReader reader(out->vocabulary);
  OCTAVO_TRY(parse_json_events(vocab, vocab_path.string(), /*max_depth=*/4, reader));
  MergeList merges;
  OCTAVO_TRY(read_merges(merges_path, merges));
  auto model = make_bpe(out->vocabulary, merges, BpeOptions());
  if (!model.ok()) return std::move(model).error().context(merges_path.string());
  out->model = std::move(*model);
  if (known->nfc) out->normalizer.add(make_nfc());
  OCTAVO_ASSIGN(out->pre_tokenizer, make_byte_level(known->regex, config.add_prefix_space));
  out->decoder = make_byte_level_decoder();

  std::vector<AddedToken> added;
  for (const AddedToken& token : config.added) {
    const auto id = out->vocabulary.find(token.content);
    if (!id) {
      OCTAVO_TRY(out->vocabulary.add_beyond_model(token.content, token.id)
                     .context((folder / "tokenizer_config.json").string()));
    } else if (*id != token.id) {
      return failure("{}: added token \"{}\" has id {}, but {} in vocab.json", folder.string(),
                     printable(token.content), token.id, *id);
    }
    added.push_back(token);
  }
  for (const std::string& content : config.specials) {
    // A special token is found in the text also where only its name is given. One that has no id cannot be.
    const auto id = out->vocabulary.find(content);
    const auto entry =
        std::find_if(added.begin(), added.end(), [&](const AddedToken& t) { return t.content == content; });
    if (entry != added.end()) {
      entry->special = true;
    } else if (id) {
      added.push_back({*id, content, false, false, false, false, true});
    }
  }
  OCTAVO_ASSIGN(out->added, AddedTokens::make(std::move(added), out->normalizer));
  return out;
}

}  // namespace octavo::text
