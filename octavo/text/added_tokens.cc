// Matching as the tokenizers library's AddedVocabulary.
#include "octavo/text/added_tokens.h"

#include <algorithm>

#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

std::size_t last_character(std::string_view text) {  // where it begins
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word(first_code_point(text.substr(last_character(text))).value);
}

bool starts_with_word(std::string_view text) { return !text.empty() && is_word(first_code_point(text).value); }

// Where the whitespace at the end of `text` begins, not before `from`.
std::size_t trailing_space(std::string_view text, std::size_t from) {
  std::size_t end = text.size();
  while (end > from) {
    const std::size_t at = last_character(text.substr(0, end));
    if (at < from || !is_whitespace(first_code_point(text.substr(at)).value)) break;
    end = at;
  }
  return end;
}

std::size_t leading_space(std::string_view text) {  // its length
  std::size_t at = 0;
  while (at < text.size()) {
    const CodePoint c = first_code_point(text.substr(at));
    if (c.length == 0 || !is_whitespace(c.value)) break;
    at += c.length;
  }
  return at;
}

}  // namespace

Result<AddedTokens> AddedTokens::make(std::vector<AddedToken> tokens, const Normalizer& normalizer) {
  AddedTokens out;
  for (AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    std::string form = token.content;
    if (token.normalized) {
      bool at_start = true;
      OCTAVO_TRY(normalizer.apply(form, at_start));
    }
    const auto [entry, fresh] = out.by_id_.try_emplace(token.id, out.tokens_.size());
    Token added{{std::move(token)}, std::move(form)};
    if (fresh) {
      out.tokens_.push_back(std::move(added));
    } else {
      added.special = added.special || out.tokens_[entry->second].special;
      out.tokens_[entry->second] = std::move(added);
    }
  }
  std::vector<std::pair<std::string, std::int32_t>> raw, normalized;
  for (std::size_t i = 0; i < out.tokens_.size(); ++i) {
    auto& list = out.tokens_[i].normalized ? normalized : raw;
    list.emplace_back(out.tokens_[i].form, static_cast<std::int32_t>(i));
  }
  out.raw_ = PrefixIndex(std::move(raw));
  out.normalized_ = PrefixIndex(std::move(normalized));
  return out;
}

void AddedTokens::split(Pieces& pieces, bool normalized) const {
  const PrefixIndex& index = normalized ? normalized_ : raw_;
  if (index.empty()) return;
  std::vector<Span> spans;
  for (const Span& span : pieces.spans) {
    if (span.token >= 0) {
      spans.push_back(span);
    } else {
      split_span(pieces, span, index, spans);
    }
  }
  pieces.spans = std::move(spans);
}

void AddedTokens::split_span(const Pieces& pieces, const Span& span, const PrefixIndex& index,
                             std::vector<Span>& out) const {
  const std::string_view text = pieces.of(span);
  const auto put = [&](std::size_t begin, std::size_t end, std::int32_t token) {
    out.push_back({span.begin + begin, span.begin + end, token, span.at_start && begin == 0});
  };
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const PrefixIndex::Match match = index.longest(text.substr(at));
    if (match.length == 0) {
      ++at;
      continue;
    }
    const Token& token = tokens_[static_cast<std::size_t>(match.value)];
    std::size_t begin = at, end = at + match.length;
    at = end;
    if (token.single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
    if (token.lstrip) begin = std::max(trailing_space(text.substr(0, begin), std::min(begin, done)), done);
    if (token.rstrip) end += leading_space(text.substr(end));
    if (done < begin) put(done, begin, -1);
    // rstrip of the token before may have taken the beginning of this one, or, with lstrip here, all of it.
    if (begin < end) put(begin, end, token.id);
    done = std::max(done, end);
  }
  if (done < text.size()) put(done, text.size(), -1);
}

bool AddedTokens::is_special(std::int32_t id) const {
  const auto it = by_id_.find(id);
  return it != by_id_.end() && tokens_[it->second].special;
}

const std::string* AddedTokens::decoded(std::int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second].form;
}

}  // namespace octavo::text
