// SentencePiece's normalizer, its two models and its decoder as stages of a pipeline.
#include "octavo/text/sentencepiece.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <unordered_map>

#include "octavo/base/text.h"
#include "octavo/text/charsmap.h"
#include "octavo/text/prefix_index.h"
#include "octavo/text/sentencepiece_model.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";        // U+2581, SentencePiece's mark for a space
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// What the stages share.
struct PieceTable {
  std::vector<PieceType> types;
  std::vector<float> scores;
  PrefixIndex user_defined;
  std::array<std::int32_t, 256> bytes{};  // ids of <0x00> ... <0xFF>
  std::int32_t unk = -1;
  bool byte_fallback = false;
  PieceType type(std::int32_t id) const { return types[static_cast<std::size_t>(id)]; }
  float score(std::int32_t id) const { return scores[static_cast<std::size_t>(id)]; }
};

// Normalizer::Normalize of the library.
class Normalize final : public NormalizerStep {
 public:
  Normalize(const SentencePieceModel& model, Charsmap map, std::shared_ptr<const PieceTable> pieces, bool every_part)
      : map_(std::move(map)),
        pieces_(std::move(pieces)),
        prefix_(model.add_dummy_prefix),
        suffix_(model.whitespace_as_suffix),
        trim_(model.remove_extra_whitespaces),
        space_(model.escape_whitespaces ? kSpace : " "),
        every_part_(every_part) {}

  Status apply(std::string& text, bool& at_start) const override {
    std::string_view rest = text;
    if (trim_) {
      while (!rest.empty()) {
        const Charsmap::Rule rule = next(rest);
        if (rule.replacement != " ") break;
        rest.remove_prefix(rule.length);
      }
    }
    std::string out;
    if (!rest.empty()) {
      const bool dummy = prefix_ && (at_start || every_part_);
      out.reserve(text.size() + 2 * kSpace.size());
      if (dummy && !suffix_) out += space_;
      bool after_space = trim_;
      while (!rest.empty()) {
        const Charsmap::Rule rule = next(rest);
        std::string_view piece = rule.replacement;
        while (after_space && piece.starts_with(' ')) piece.remove_prefix(1);
        for (const char c : piece) {
          if (c == ' ') {
            out += space_;
          } else {
            out += c;
          }
        }
        if (!piece.empty()) after_space = trim_ && piece.ends_with(' ');
        rest.remove_prefix(rule.length);
        OCTAVO_TRY(check_growth(text.size(), out.size() / kSpace.size()));
      }
      if (trim_) {
        while (out.ends_with(space_)) out.resize(out.size() - space_.size());
      }
      if (dummy && suffix_) out += space_;
    }
    text = std::move(out);
    return {};
  }

 private:
  // What the front of `rest` becomes, and how much of it that concerns.
  Charsmap::Rule next(std::string_view rest) const {
    if (const auto match = pieces_->user_defined.longest(rest); match.length > 0) {
      return {match.length, rest.substr(0, match.length)};
    }
    if (const auto rule = map_.longest(rest)) return *rule;
    const std::size_t length = std::min(utf8_length_of(rest[0]), rest.size());
    return {length, rest.substr(0, length)};
  }

  Charsmap map_;
  std::shared_ptr<const PieceTable> pieces_;
  bool prefix_, suffix_, trim_;
  std::string space_;
  bool every_part_;  // the dummy prefix stands in front of every part between added tokens, not of the first only
};

// What both models have: from pieces to ids.
class SentencePieceModelBase : public Model {
 public:
  SentencePieceModelBase(const Vocabulary& vocabulary, std::shared_ptr<const PieceTable> pieces)
      : vocabulary_(vocabulary), pieces_(std::move(pieces)) {}

  Status encode(const Pieces& pieces, std::vector<std::int32_t>& ids) const override {
    for (const Span& span : pieces.spans) {
      bool unknown = false;
      if (span.token >= 0) {
        ids.push_back(span.token);
      } else if (span.begin < span.end) {
        segment(pieces.of(span), [&](std::string_view piece, std::int32_t id) { emit(piece, id, unknown, ids); });
      }
    }
    return {};
  }

 protected:
  using Emit = std::function<void(std::string_view piece, std::int32_t id)>;
  virtual void segment(std::string_view text, const Emit& emit) const = 0;

  bool is_piece(std::int32_t id) const {  // a token that text can become
    const PieceType type = pieces_->type(id);
    return type == PieceType::kNormal || type == PieceType::kUserDefined || type == PieceType::kUnused;
  }
  std::int32_t find(std::string_view piece) const { return vocabulary_.find_in_model(piece).value_or(-1); }

  const Vocabulary& vocabulary_;
  std::shared_ptr<const PieceTable> pieces_;

 private:
  // Unknown pieces become bytes, or one unk for a run of them.
  void emit(std::string_view piece, std::int32_t id, bool& unknown, std::vector<std::int32_t>& ids) const {
    if (id != pieces_->unk) {
      ids.push_back(id);
      unknown = false;
    } else if (pieces_->byte_fallback) {
      for (const char c : piece) ids.push_back(pieces_->bytes[static_cast<unsigned char>(c)]);
    } else {
      if (!unknown) ids.push_back(id);
      unknown = true;
    }
  }
};

// bpe::Model::Encode: the pair whose concatenation has the highest score first, the leftmost of equals.
class SentencePieceBpe final : public SentencePieceModelBase {
 public:
  using SentencePieceModelBase::SentencePieceModelBase;

 private:
  struct Symbol {
    std::string_view text;  // empty: merged into its left neighbour
    std::int32_t previous, next;
    bool frozen;  // a user-defined symbol
  };
  struct Candidate {
    float score;
    std::int32_t left, right;
    std::size_t size;
    bool operator<(const Candidate& other) const {
      return score != other.score ? score < other.score : left > other.left;
    }
  };
  using Unused = std::unordered_map<std::string_view, std::size_t>;  // unused piece -> length of its left half

  void segment(std::string_view text, const Emit& emit) const override {
    std::vector<Symbol> symbols;
    for (std::size_t at = 0; at < text.size();) {
      const auto user = pieces_->user_defined.longest(text.substr(at));
      const std::size_t length = user.length > 0 ? user.length : std::min(utf8_length_of(text[at]), text.size() - at);
      const auto index = static_cast<std::int32_t>(symbols.size());
      symbols.push_back({text.substr(at, length), index - 1, index + 1, user.length > 0});
      at += length;
    }
    if (symbols.empty()) return;
    symbols.back().next = -1;

    std::vector<Candidate> heap;
    Unused unused;
    const auto at = [&](std::int32_t i) -> Symbol& { return symbols[static_cast<std::size_t>(i)]; };
    const auto joined = [&](std::int32_t left, std::int32_t right) {  // symbols lie side by side in the text
      return std::string_view(at(left).text.data(), at(left).text.size() + at(right).text.size());
    };
    const auto offer = [&](std::int32_t left, std::int32_t right) {
      if (left < 0 || right < 0 || at(left).frozen || at(right).frozen) return;
      const std::string_view piece = joined(left, right);
      const std::int32_t id = find(piece);
      if (id < 0 || !is_piece(id)) return;
      heap.push_back({pieces_->score(id), left, right, piece.size()});
      std::push_heap(heap.begin(), heap.end());
      if (pieces_->type(id) == PieceType::kUnused) unused[piece] = at(left).text.size();
    };
    for (std::int32_t i = 1; i < static_cast<std::int32_t>(symbols.size()); ++i) offer(i - 1, i);
    while (!heap.empty()) {
      const Candidate top = heap.front();
      std::pop_heap(heap.begin(), heap.end());
      heap.pop_back();
      Symbol &left = at(top.left), &right = at(top.right);
      if (left.text.empty() || right.text.empty() || left.text.size() + right.text.size() != top.size) continue;
      left.text = joined(top.left, top.right);
      left.next = right.next;
      if (right.next >= 0) at(right.next).previous = top.left;
      right.text = {};
      offer(left.previous, top.left);
      offer(top.left, left.next);
    }
    for (std::int32_t i = 0; i >= 0; i = at(i).next) emit_piece(at(i).text, unused, emit);
  }

  // An unused piece is taken apart again.
  void emit_piece(std::string_view piece, const Unused& unused, const Emit& emit) const {
    std::vector<std::string_view> open{piece};
    while (!open.empty()) {
      const std::string_view next = open.back();
      open.pop_back();
      const std::int32_t id = find(next);
      const auto halves = id >= 0 && pieces_->type(id) == PieceType::kUnused ? unused.find(next) : unused.end();
      if (halves == unused.end()) {
        emit(next, id < 0 ? pieces_->unk : id);
      } else {
        open.push_back(next.substr(halves->second));
        open.push_back(next.substr(0, halves->second));
      }
    }
  }
};

// unigram::Model::EncodeOptimized. Scores are float as there, so that ties fall the same way.
class SentencePieceUnigram final : public SentencePieceModelBase {
 public:
  SentencePieceUnigram(const Vocabulary& vocabulary, std::shared_ptr<const PieceTable> pieces)
      : SentencePieceModelBase(vocabulary, std::move(pieces)) {
    std::vector<std::pair<std::string, std::int32_t>> entries;
    float lowest = std::numeric_limits<float>::max();
    highest_ = std::numeric_limits<float>::min();  // the library starts from the least positive number
    for (std::size_t i = 0; i < pieces_->types.size(); ++i) {
      const auto id = static_cast<std::int32_t>(i);
      if (is_piece(id)) entries.emplace_back(vocabulary.token(id), id);
      if (pieces_->types[i] != PieceType::kNormal) continue;
      lowest = std::min(lowest, pieces_->scores[i]);
      highest_ = std::max(highest_, pieces_->scores[i]);
    }
    index_ = PrefixIndex(std::move(entries));
    unk_score_ = lowest - kUnkPenalty;
  }

 private:
  static constexpr float kUnkPenalty = 10;
  struct Node {
    float score = 0;
    std::int32_t id = -1;
    std::size_t from = SIZE_MAX;
    void offer(double candidate, std::size_t begin, std::int32_t token) {
      if (from != SIZE_MAX && candidate <= static_cast<double>(score)) return;
      score = static_cast<float>(candidate);
      from = begin;
      id = token;
    }
  };

  void segment(std::string_view text, const Emit& emit) const override {
    std::vector<Node> best(text.size() + 1);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = std::min(utf8_length_of(text[at]), text.size() - at);
      const float here = best[at].score;
      bool single = false;
      index_.for_each_prefix(text.substr(at), [&](std::size_t size, std::int32_t id) {
        const PieceType type = pieces_->type(id);
        if (type == PieceType::kUnused) return;
        if (type == PieceType::kUserDefined) {
          const double score = static_cast<double>(static_cast<float>(size) * highest_) - 0.1;
          best[at + size].offer(score + static_cast<double>(here), at, id);
        } else {
          best[at + size].offer(static_cast<double>(pieces_->score(id) + here), at, id);
        }
        single = single || size == length;
      });
      if (!single) best[at + length].offer(static_cast<double>(unk_score_ + here), at, pieces_->unk);
      at += length;
    }
    std::vector<std::pair<std::size_t, std::size_t>> path;
    for (std::size_t end = text.size(); end > 0; end = best[end].from) path.emplace_back(best[end].from, end);
    for (auto it = path.rbegin(); it != path.rend(); ++it) {
      emit(text.substr(it->first, it->second - it->first), best[it->second].id);
    }
  }

  PrefixIndex index_;
  float highest_ = 0, unk_score_ = 0;
};

// SentencePieceProcessor::Decode.
class DecodePieces final : public DecodeStream {
 public:
  struct Options {
    std::shared_ptr<const PieceTable> pieces;
    std::string unk_surface;
    bool eats_space;      // of a first piece that begins with one
    bool eats_all_space;  // ... and of those that follow it, until there is text
    bool show_control;    // control symbols are text
  };
  explicit DecodePieces(const Options& options) : o_(options) {}

  void push(std::int32_t id, std::string_view token, std::string& out) override {
    const std::size_t before = out.size();
    const bool added = static_cast<std::size_t>(id) >= o_.pieces->types.size();
    const PieceType type = added ? PieceType::kUserDefined : o_.pieces->type(id);
    if (type == PieceType::kByte) {
      bytes_ += static_cast<char>(byte_of(id));
      take_bytes(out, /*last=*/false);
      any_ = any_ || out.size() > before;
      return;
    }
    take_bytes(out, /*last=*/true);
    any_ = any_ || out.size() > before;
    if (ate_space_ || any_) at_begin_ = false;
    ate_space_ = false;
    if (type == PieceType::kControl || (type == PieceType::kUnknown && o_.show_control)) {
      if (o_.show_control) out += token;
    } else if (type == PieceType::kUnknown) {
      out += o_.unk_surface;
    } else {
      if (at_begin_ && o_.eats_space && token.starts_with(kSpace)) {
        token.remove_prefix(kSpace.size());
        ate_space_ = !o_.eats_all_space;
      }
      for (std::size_t at; (at = token.find(kSpace)) != token.npos; token.remove_prefix(at + kSpace.size())) {
        out += token.substr(0, at);
        out += ' ';
      }
      out += token;
    }
    any_ = any_ || out.size() > before;
  }

  void finish(std::string& out) override { take_bytes(out, /*last=*/true); }

 private:
  int byte_of(std::int32_t id) const {
    const auto& bytes = o_.pieces->bytes;
    const auto it = std::find(bytes.begin(), bytes.end(), id);
    return static_cast<int>(it - bytes.begin()) & 0xFF;
  }
  // Whole characters of the byte pieces so far; each byte that begins none is U+FFFD.
  void take_bytes(std::string& out, bool last) {
    std::size_t at = 0;
    while (at < bytes_.size()) {
      const std::string_view rest = std::string_view(bytes_).substr(at);
      const CodePoint c = first_code_point(rest);
      if (c.length > 0) {
        out += rest.substr(0, c.length);
        at += c.length;
        continue;
      }
      std::string ignored;
      if (!last && append_decided_utf8(rest, ignored) == 0) break;  // more bytes may complete it
      out += kReplacement;
      ++at;
    }
    bytes_.erase(0, at);
  }

  Options o_;
  std::string bytes_;
  bool any_ = false;      // there is text
  bool at_begin_ = true;  // no text yet: a space in front of a piece is the dummy prefix
  bool ate_space_ = false;
};

class SentencePieceDecoder final : public Decoder {
 public:
  explicit SentencePieceDecoder(DecodePieces::Options options) : options_(std::move(options)) {}
  std::unique_ptr<DecodeStream> start(bool) const override { return std::make_unique<DecodePieces>(options_); }

 private:
  DecodePieces::Options options_;
};

bool looks_like_tiktoken(std::string_view bytes) {  // "IQ== 0\n"
  const std::string_view line = bytes.substr(0, bytes.find('\n'));
  const std::size_t space = line.find(' ');
  return space != line.npos && space > 0 && line.size() < 200 &&
         line.substr(space + 1).find_first_not_of("0123456789\r") == line.npos &&
         line.substr(0, space).find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") ==
             line.npos;
}

Result<std::shared_ptr<PieceTable>> index_pieces(const SentencePieceModel& model, Vocabulary& vocabulary) {
  auto out = std::make_shared<PieceTable>();
  out->bytes.fill(-1);
  out->byte_fallback = model.byte_fallback;
  std::vector<std::pair<std::string, std::int32_t>> user_defined;
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePiece& piece = model.pieces[i];
    const auto id = static_cast<std::int32_t>(i);
    OCTAVO_TRY(vocabulary.add(piece.text, id));
    out->types.push_back(piece.type);
    out->scores.push_back(piece.score);
    if (piece.type == PieceType::kUserDefined) user_defined.emplace_back(piece.text, id);
    if (piece.type == PieceType::kUnknown) {
      if (out->unk >= 0) return failure("pieces {} and {} are both the unknown piece", out->unk, id);
      out->unk = id;
    }
    if (piece.type == PieceType::kByte) {
      std::size_t byte = 0;
      while (byte < 256 && piece.text != fmt::format("<0x{:02X}>", byte)) ++byte;
      if (byte == 256) return failure("piece {} (\"{}\") is no byte", id, printable(piece.text));
      out->bytes[byte] = id;
    }
  }
  if (out->unk < 0) return failure("there is no unknown piece");
  if (model.byte_fallback && std::find(out->bytes.begin(), out->bytes.end(), -1) != out->bytes.end()) {
    return failure("byte_fallback is on, but not every byte has a piece");
  }
  out->user_defined = PrefixIndex(std::move(user_defined));
  return out;
}

// Added and special tokens of the folder, found in text as transformers finds them.
Status add_tokens(const TokenizerConfig& config, Pipeline& out) {
  std::vector<AddedToken> added;
  for (const AddedToken& token : config.added) {
    const auto id = out.vocabulary.find(token.content);
    if (!id) {
      OCTAVO_TRY(out.vocabulary.add_beyond_model(token.content, token.id));
    } else if (*id != token.id) {
      return failure("added token \"{}\" has id {}, but {} in the model", printable(token.content), token.id, *id);
    }
    added.push_back(token);
  }
  for (const std::string& content : config.specials) {
    const auto id = out.vocabulary.find(content);
    const auto entry =
        std::find_if(added.begin(), added.end(), [&](const AddedToken& t) { return t.content == content; });
    if (entry != added.end()) {
      entry->special = true;
    } else if (id) {
      added.push_back({*id, content, false, false, false, false, true});
    }
  }
  for (AddedToken& token : added) token.normalized = false;  // SentencePiece's normalizer is none for tokens
  OCTAVO_ASSIGN(out.added, AddedTokens::make(std::move(added), out.normalizer));
  return {};
}

}  // namespace

Result<std::unique_ptr<Pipeline>> parse_sentencepiece(std::string_view bytes, const TokenizerConfig& config) {
  if (looks_like_tiktoken(bytes)) {
    return failure("is a tiktoken vocabulary, which does not say how to cut text; use the model's tokenizer.json");
  }
  OCTAVO_ASSIGN(const SentencePieceModel model, parse_sentencepiece_model(bytes));
  if (model.type != SentencePieceModel::Type::kBpe && model.type != SentencePieceModel::Type::kUnigram) {
    return failure("SentencePiece models of type word and char are not supported");
  }
  if (model.has_denormalizer) return failure("SentencePiece models with denormalizer rules are not supported");
  auto out = std::make_unique<Pipeline>();
  OCTAVO_ASSIGN(const std::shared_ptr<const PieceTable> pieces, index_pieces(model, out->vocabulary));
  OCTAVO_ASSIGN(Charsmap map, Charsmap::parse(model.charsmap));
  out->normalizer.add(std::make_unique<Normalize>(model, std::move(map), pieces, config.legacy));
  if (model.type == SentencePieceModel::Type::kBpe) {
    out->model = std::make_unique<SentencePieceBpe>(out->vocabulary, pieces);
  } else {
    out->model = std::make_unique<SentencePieceUnigram>(out->vocabulary, pieces);
  }
  out->decoder = std::make_unique<SentencePieceDecoder>(
      DecodePieces::Options{pieces, model.unk_surface, model.add_dummy_prefix || model.remove_extra_whitespaces,
                            model.remove_extra_whitespaces, config.present});
  const auto control = [&](const std::string& piece) -> std::optional<std::int32_t> {
    const auto id = out->vocabulary.find(piece);
    return id && pieces->type(*id) == PieceType::kControl ? id : std::nullopt;
  };
  out->bos = control(model.bos_piece);
  out->eos = control(model.eos_piece);
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    if (pieces->types[i] == PieceType::kControl) out->control.insert(static_cast<std::int32_t>(i));
  }
  out->control_is_text = config.present;
  if (config.present) OCTAVO_TRY(add_tokens(config, *out));
  PostProcessor::Template form;
  if (out->bos && config.add_bos_token.value_or(true)) form.push_back({*out->bos});
  form.emplace_back();
  if (out->eos && config.add_eos_token.value_or(false)) form.push_back({*out->eos});
  out->post_processor.add(std::move(form));
  return out;
}

}  // namespace octavo::text
