// Viterbi over byte positions.
#include "octavo/text/unigram.h"

#include <algorithm>
#include <array>

#include "octavo/base/text.h"
#include "octavo/text/prefix_index.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

constexpr double kUnkPenalty = 10;  // below the worst token, as in SentencePiece

class Unigram final : public Model {
 public:
  Unigram(const Vocabulary& vocabulary, std::vector<double> scores, std::optional<std::int32_t> unk, bool byte_fallback)
      : vocabulary_(vocabulary), scores_(std::move(scores)), unk_(unk.value_or(-1)), byte_fallback_(byte_fallback) {
    std::vector<std::pair<std::string, std::int32_t>> entries;
    double worst = scores_.empty() ? 0 : scores_.front();
    for (std::size_t i = 0; i < scores_.size(); ++i) {
      const auto id = static_cast<std::int32_t>(i);
      entries.emplace_back(vocabulary.token(id), id);
      worst = std::min(worst, scores_[i]);
    }
    index_ = PrefixIndex(std::move(entries));
    unk_score_ = worst - kUnkPenalty;
    for (std::size_t byte = 0; byte < bytes_.size(); ++byte) {
      bytes_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
    }
  }

  Status encode(const Pieces& pieces, std::vector<std::int32_t>& ids) const override {
    std::vector<Node> best;
    std::vector<std::pair<std::size_t, std::size_t>> path;
    for (const Span& span : pieces.spans) {
      if (span.token >= 0) {
        ids.push_back(span.token);
      } else {
        OCTAVO_TRY(encode_word(pieces.of(span), best, path, ids));
      }
    }
    return {};
  }

 private:
  static constexpr std::size_t kNone = SIZE_MAX;
  struct Node {
    double score = 0;
    std::size_t from = kNone;  // where the best last token begins
    std::int32_t id = -1;
    void offer(double candidate, std::size_t begin, std::int32_t token) {
      if (from != kNone && candidate <= score) return;
      *this = {candidate, begin, token};
    }
  };

  Status encode_word(std::string_view word, std::vector<Node>& best,
                     std::vector<std::pair<std::size_t, std::size_t>>& path, std::vector<std::int32_t>& ids) const {
    best.assign(word.size() + 1, Node());
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t length = std::min(utf8_length_of(word[at]), word.size() - at);
      const double here = best[at].score;
      bool single = false;
      index_.for_each_prefix(word.substr(at), [&](std::size_t size, std::int32_t id) {
        best[at + size].offer(scores_[static_cast<std::size_t>(id)] + here, at, id);
        single = single || size == length;
      });
      if (!single) {
        if (unk_ < 0) {
          return failure("\"{}\" is not in the vocabulary, and the model has no unk_id",
                         printable(word.substr(at, length)));
        }
        best[at + length].offer(unk_score_ + here, at, unk_);
      }
      at += length;
    }
    path.clear();
    bool fused = false;  // the last entry of `path` is a run of unknown characters
    for (std::size_t end = word.size(); end > 0;) {
      const Node& node = best[end];
      const bool unknown = node.id == unk_;
      if (unknown && fused) {
        path.back().first = node.from;
      } else {
        path.emplace_back(node.from, end);
      }
      fused = unknown;
      end = node.from;
    }
    for (auto it = path.rbegin(); it != path.rend(); ++it) {
      OCTAVO_TRY(emit(word.substr(it->first, it->second - it->first), ids));
    }
    return {};
  }

  Status emit(std::string_view token, std::vector<std::int32_t>& ids) const {
    if (const auto id = vocabulary_.find_in_model(token)) {
      ids.push_back(*id);
      return {};
    }
    const bool all = byte_fallback_ && std::all_of(token.begin(), token.end(),
                                                   [&](char c) { return bytes_[static_cast<unsigned char>(c)] >= 0; });
    if (all) {
      for (const char c : token) ids.push_back(bytes_[static_cast<unsigned char>(c)]);
      return {};
    }
    if (unk_ < 0) return failure("\"{}\" is not in the vocabulary, and the model has no unk_id", printable(token));
    ids.push_back(unk_);
    return {};
  }

  const Vocabulary& vocabulary_;
  std::vector<double> scores_;
  std::int32_t unk_;
  bool byte_fallback_;
  double unk_score_ = 0;
  PrefixIndex index_;
  std::array<std::int32_t, 256> bytes_{};
};

class WordLevel final : public Model {
 public:
  WordLevel(const Vocabulary& vocabulary, std::string unk_token)
      : vocabulary_(vocabulary), unk_token_(std::move(unk_token)), unk_(vocabulary.find(unk_token_)) {}
  Status encode(const Pieces& pieces, std::vector<std::int32_t>& ids) const override {
    for (const Span& span : pieces.spans) {
      const auto id = span.token >= 0 ? span.token : vocabulary_.find_in_model(pieces.of(span));
      if (!id && !unk_) {
        return failure("neither \"{}\" nor the unk_token \"{}\" is in the vocabulary", printable(pieces.of(span)),
                       printable(unk_token_));
      }
      ids.push_back(id ? *id : *unk_);
    }
    return {};
  }

 private:
  const Vocabulary& vocabulary_;
  std::string unk_token_;
  std::optional<std::int32_t> unk_;
};

}  // namespace

std::unique_ptr<Model> make_unigram(const Vocabulary& vocabulary, std::vector<double> scores,
                                    std::optional<std::int32_t> unk_id, bool byte_fallback) {
  return std::make_unique<Unigram>(vocabulary, std::move(scores), unk_id, byte_fallback);
}

std::unique_ptr<Model> make_word_level(const Vocabulary& vocabulary, std::string unk_token) {
  return std::make_unique<WordLevel>(vocabulary, std::move(unk_token));
}

}  // namespace octavo::text
