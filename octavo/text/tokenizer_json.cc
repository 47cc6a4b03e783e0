// tokenizer.json as events: vocabulary and merges never become a tree, the small rest does.
#include "octavo/text/tokenizer_json.h"

#include <unordered_set>
#include <utility>

#include "octavo/base/text.h"
#include "octavo/text/bpe.h"
#include "octavo/text/json_field.h"
#include "octavo/text/unigram.h"

namespace octavo::text {
namespace {

// Fills a vocabulary, merges and scores; everything else goes into `root`, where they are left out.
class Reader final : public JsonEvents {
 public:
  explicit Reader(Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  Json root;
  MergeList merges;
  std::vector<double> scores;  // of a Unigram vocabulary, by id
  bool has_vocabulary = false, has_scores = false, has_merges = false;

  Status null() override { return put(Json(nullptr)); }
  Status boolean(bool v) override { return put(Json(v)); }
  Status integer(std::int64_t v) override { return number(Json(v), v, static_cast<double>(v)); }
  Status natural(std::uint64_t v) override {
    return number(Json(v), v > INT64_MAX ? INT64_MAX : static_cast<std::int64_t>(v), static_cast<double>(v));
  }
  Status real(double v) override { return number(Json(v), -1, v); }

  Status string(std::string& v) override {
    if (mode_ == Mode::kMerges && !inner_) return merges.add_line(v).context(where());
    if (mode_ == Mode::kMerges || mode_ == Mode::kScores) {
      if (!inner_ || parts_ > 1) return wrong();
      if (mode_ == Mode::kScores && parts_ != 0) return wrong();
      (parts_++ == 0 ? first_ : second_) = std::move(v);
      return {};
    }
    return put(Json(std::move(v)));
  }

  Status begin_object() override {
    if (mode_ != Mode::kTree) return wrong();
    if (special_ == Mode::kVocabulary) {
      mode_ = Mode::kVocabulary;
      has_vocabulary = true;
      return {};
    }
    if (special_ != Mode::kTree) return wrong();
    open_.push_back({Json::object(), {}, {}});
    return {};
  }

  Status key(std::string& name) override {
    if (mode_ == Mode::kVocabulary) {
      first_ = std::move(name);
      return {};
    }
    Level& level = open_.back();
    if (!level.keys.insert(name).second) return failure("key \"{}\" appears twice", printable(name));
    level.key = std::move(name);
    special_ = Mode::kTree;
    if (open_.size() == 2 && open_.front().key == "model") {
      if (level.key == "vocab") special_ = Mode::kVocabulary;
      if (level.key == "merges") special_ = Mode::kMerges;
    }
    return {};
  }

  Status end_object() override { return mode_ == Mode::kVocabulary ? leave() : close(); }

  Status begin_array() override {
    if (mode_ == Mode::kVocabulary) return wrong();
    if (mode_ == Mode::kTree) {
      if (special_ == Mode::kVocabulary) {
        mode_ = Mode::kScores;
        has_scores = true;
        return {};
      }
      if (special_ == Mode::kMerges) {
        mode_ = Mode::kMerges;
        has_merges = true;
        return {};
      }
      open_.push_back({Json::array(), {}, {}});
      return {};
    }
    if (inner_) return wrong();
    inner_ = true;
    parts_ = 0;
    return {};
  }

  Status end_array() override {
    if (mode_ == Mode::kTree) return close();
    if (!inner_) return leave();
    inner_ = false;
    if (parts_ != 2) return wrong();
    if (mode_ == Mode::kMerges) return merges.add(first_, second_).context(where());
    OCTAVO_TRY(vocabulary_.add(first_, static_cast<std::int64_t>(scores.size())).context("/model/vocab"));
    scores.push_back(score_);
    return {};
  }

 private:
  // What is being read: the tree, or model.vocab as an object or an array, or model.merges.
  enum class Mode { kTree, kVocabulary, kScores, kMerges };
  struct Level {
    Json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  std::string where() const {
    return mode_ == Mode::kMerges ? fmt::format("/model/merges/{}", merges.size()) : std::string("/model/vocab");
  }
  Error wrong() const {
    switch (mode_ == Mode::kTree ? special_ : mode_) {
      case Mode::kMerges: return failure("/model/merges must be a list of \"a b\" or [\"a\", \"b\"]");
      case Mode::kScores: return failure("/model/vocab must be a list of [token, score]");
      default: return failure("/model/vocab must map tokens to ids, or be a list of [token, score]");
    }
  }

  Status number(Json value, std::int64_t id, double score) {
    if (mode_ == Mode::kVocabulary) {
      if (value.is_number_float()) return wrong();
      return vocabulary_.add(first_, id).context("/model/vocab");
    }
    if (mode_ == Mode::kScores && inner_ && parts_ == 1) {
      score_ = score;
      ++parts_;
      return {};
    }
    return put(std::move(value));
  }

  Status put(Json value) {
    if (mode_ != Mode::kTree || (special_ != Mode::kTree && !open_.empty())) return wrong();
    return store(std::move(value));
  }
  Status store(Json value) {
    if (open_.empty()) {
      root = std::move(value);
      return {};
    }
    Level& level = open_.back();
    if (level.value.is_array()) {
      level.value.push_back(std::move(value));
    } else {
      using Members = std::vector<std::pair<const std::string, Json>>;
      static_cast<Members&>(level.value.get_ref<Json::object_t&>())
          .emplace_back(std::move(level.key), std::move(value));
    }
    return {};
  }
  Status close() {
    Json done = std::move(open_.back().value);
    open_.pop_back();
    return store(std::move(done));
  }
  Status leave() {
    mode_ = Mode::kTree;
    special_ = Mode::kTree;
    return {};
  }

  Vocabulary& vocabulary_;
  std::vector<Level> open_;
  Mode mode_ = Mode::kTree;
  Mode special_ = Mode::kTree;  // what the value of the key just read is
  bool inner_ = false;          // inside an entry of a list
  int parts_ = 0;               // of that entry
  std::string first_, second_;
  double score_ = 0;
};

Result<std::unique_ptr<Model>> make_bpe_model(const JsonField& model, const Reader& reader,
                                              const Vocabulary& vocabulary) {
  if (!reader.has_vocabulary || !reader.has_merges) {
    return model.error("a BPE model needs \"vocab\", tokens to ids, and \"merges\"");
  }
  BpeOptions options;
  if (const auto dropout = model.find("dropout")) {
    OCTAVO_ASSIGN(const double p, dropout->number());
    if (p != 0) return dropout->error("a dropout of {} makes the ids random; remove it", p);
  }
  if (const auto unk = model.find("unk_token")) {
    OCTAVO_ASSIGN(options.unk_token, unk->string());
  }
  if (const auto prefix = model.find("continuing_subword_prefix")) {
    OCTAVO_ASSIGN(options.continuing_subword_prefix, prefix->string());
  }
  if (const auto suffix = model.find("end_of_word_suffix")) {
    OCTAVO_ASSIGN(options.end_of_word_suffix, suffix->string());
  }
  OCTAVO_ASSIGN(options.fuse_unk, model.boolean("fuse_unk", false));
  OCTAVO_ASSIGN(options.byte_fallback, model.boolean("byte_fallback", false));
  OCTAVO_ASSIGN(options.ignore_merges, model.boolean("ignore_merges", false));
  return make_bpe(vocabulary, reader.merges, std::move(options)).context("/model/merges");
}

Result<std::unique_ptr<Model>> make_model(const JsonField& model, Reader& reader, const Vocabulary& vocabulary) {
  std::string type;
  if (model.find("type")) {
    OCTAVO_ASSIGN(type, model.type());
  } else if (reader.has_merges) {
    type = "BPE";  // files from before "type"
  } else {
    return model.error("has no \"type\"");
  }
  if (type == "BPE") return make_bpe_model(model, reader, vocabulary);
  if (type == "WordLevel") {
    if (!reader.has_vocabulary) return model.error("a WordLevel model needs \"vocab\", tokens to ids");
    OCTAVO_ASSIGN(std::string unk, model.string("unk_token"));
    return make_word_level(vocabulary, std::move(unk));
  }
  if (type == "Unigram") {
    if (!reader.has_scores) return model.error("a Unigram model needs \"vocab\", a list of [token, score]");
    if (reader.scores.empty()) return model.error("the vocabulary is empty");
    std::optional<std::int32_t> unk;
    if (const auto field = model.find("unk_id")) {
      OCTAVO_ASSIGN(const std::int64_t id, field->integer(0, static_cast<std::int64_t>(reader.scores.size()) - 1));
      unk = static_cast<std::int32_t>(id);
    }
    OCTAVO_ASSIGN(const bool byte_fallback, model.boolean("byte_fallback", false));
    return make_unigram(vocabulary, std::move(reader.scores), unk, byte_fallback);
  }
  return model.error("the model \"{}\" is not supported (BPE, Unigram, WordLevel)", printable(type));
}

// Gives every added token its id in the vocabulary.
Result<std::vector<AddedToken>> parse_added_tokens(const JsonField& field, Vocabulary& vocabulary) {
  std::vector<AddedToken> out;
  if (field.json().is_null()) return out;
  OCTAVO_ASSIGN(const auto items, field.items());
  for (const JsonField& item : items) {
    OCTAVO_ASSIGN(AddedToken token, parse_added_token(item));
    OCTAVO_ASSIGN(const JsonField id_field, item.member("id"));
    OCTAVO_ASSIGN(const std::int64_t id, id_field.integer(0, kMaxTokenId));
    if (token.content.empty()) continue;
    token.id = static_cast<std::int32_t>(id);
    if (const auto known = vocabulary.find(token.content); !known) {
      OCTAVO_TRY(vocabulary.add_beyond_model(token.content, id).context(item.pointer()));
    } else if (*known != token.id) {
      return id_field.error("is {}, but \"{}\" has id {} already", id, printable(token.content), *known);
    }
    out.push_back(std::move(token));
  }
  return out;
}

Result<std::unique_ptr<Pipeline>> build(Reader& reader, std::unique_ptr<Pipeline> out) {
  if (!reader.root.is_object()) return failure("must be an object, not {}", json_type_name(reader.root));
  const JsonField root(reader.root, "");
  const Json absent;
  const auto section = [&](std::string_view name) {
    return root.find(name).value_or(JsonField(absent, fmt::format("/{}", name)));
  };
  const auto model = root.find("model");
  if (!model) return failure("has no \"model\": not a tokenizer.json");
  if (const auto version = root.find("version")) {
    OCTAVO_ASSIGN(const std::string text, version->string());
    if (text != "1.0") return version->error("version \"{}\" is unknown; \"1.0\" is read", printable(text));
  }
  OCTAVO_ASSIGN(out->normalizer, parse_normalizer(section("normalizer")));
  OCTAVO_ASSIGN(out->pre_tokenizer, parse_pre_tokenizer(section("pre_tokenizer")));
  OCTAVO_ASSIGN(out->decoder, parse_decoder(section("decoder")));
  OCTAVO_ASSIGN(out->model, make_model(*model, reader, out->vocabulary));
  OCTAVO_ASSIGN(auto added, parse_added_tokens(section("added_tokens"), out->vocabulary));
  OCTAVO_ASSIGN(out->added, AddedTokens::make(std::move(added), out->normalizer));
  OCTAVO_ASSIGN(out->post_processor, parse_post_processor(section("post_processor"), out->vocabulary));
  return out;
}

}  // namespace

Result<std::unique_ptr<Pipeline>> parse_tokenizer_json(std::string_view text, std::string_view origin) {
  constexpr int kMaxDepth = 64;
  auto pipeline = std::make_unique<Pipeline>();
  Reader reader(pipeline->vocabulary);
  OCTAVO_TRY(parse_json_events(text, origin, kMaxDepth, reader));
  return build(reader, std::move(pipeline)).context(origin);
}

}  // namespace octavo::text
