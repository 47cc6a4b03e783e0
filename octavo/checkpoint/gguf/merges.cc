// Merges of a SentencePiece BPE from the scores of its tokens.
#include <algorithm>
#include <cmath>

#include "octavo/base/text.h"
#include "octavo/checkpoint/gguf/tokenizer.h"

namespace octavo {
namespace {

// SentencePiece's default longest piece is 16 characters. Splits cost length squared, hence a limit.
constexpr std::size_t kLongestPiece = 256;
constexpr std::size_t kMaxMerges = 1u << 22;

struct Candidate {
  double score;  // of the merged token
  std::uint32_t left_characters;
  std::uint32_t characters;
  Merge pieces;
};

bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

}  // namespace

Result<std::vector<Merge>> merges_from_scores(const GgufVocabulary& vocabulary, std::string_view origin) {
  if (vocabulary.scores == nullptr) {
    return failure("{}: has neither tokenizer.ggml.merges nor tokenizer.ggml.scores: a tokenizer cannot be built",
                   origin);
  }
  // Control, byte and unknown tokens are never the result or the part of a merge.
  std::unordered_map<std::string_view, std::uint32_t> pieces;
  for (const GgufToken& token : vocabulary.tokens) {
    if (token.kind == GgufTokenKind::kNormal) pieces.emplace(token.text, token.id);
  }
  std::vector<Candidate> candidates;
  for (const GgufToken& token : vocabulary.tokens) {
    if (token.kind != GgufTokenKind::kNormal) continue;
    const double score = vocabulary.scores->number(token.id);
    if (!std::isfinite(score)) {
      return failure("{}: token {} ('{}') has a score that is not finite", origin, token.id, printable(token.text));
    }
    if (token.text.size() > kLongestPiece) {
      return failure("{}: token {} is {} bytes long, at most {} are supported", origin, token.id, token.text.size(),
                     kLongestPiece);
    }
    const auto characters =
        static_cast<std::uint32_t>(std::count_if(token.text.begin(), token.text.end(), starts_character));
    const std::size_t first = candidates.size();
    std::uint32_t left = 0;
    for (std::size_t cut = 1; cut < token.text.size(); ++cut) {
      if (!starts_character(token.text[cut])) continue;
      ++left;
      const Merge parts(token.text.substr(0, cut), token.text.substr(cut));
      if (!pieces.contains(parts.first) || !pieces.contains(parts.second)) continue;
      candidates.push_back({score, left, characters, parts});
    }
    std::sort(candidates.begin() + static_cast<std::ptrdiff_t>(first), candidates.end(),
              [&](const Candidate& a, const Candidate& b) {
                return std::pair(pieces[a.pieces.first], pieces[a.pieces.second]) <
                       std::pair(pieces[b.pieces.first], pieces[b.pieces.second]);
              });
    if (candidates.size() > kMaxMerges) {
      return failure("{}: the scores give more than {} merges, which no vocabulary has", origin, kMaxMerges);
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.left_characters != b.left_characters) return a.left_characters > b.left_characters;
    return a.characters > b.characters;
  });
  std::vector<Merge> merges;
  merges.reserve(candidates.size());
  for (const Candidate& candidate : candidates) merges.push_back(candidate.pieces);
  return merges;
}

}  // namespace octavo
