// Cuts a text into chunks (words, parts of hyphenated words, dashes, spaces) and fills lines with them.
#include "octavo/text/jinja/text_wrap.h"

#include <algorithm>

#include "octavo/text/jinja/unicode.h"

namespace octavo::text::jinja {
namespace {

bool is_blank(char32_t c) { return (c >= 0x09 && c <= 0x0D) || c == ' '; }
bool is_letter(char32_t c) { return is_word(c) && !is_digit(c); }
// What may stand before a dash: a word's character or closing punctuation.
bool ends_word(char32_t c) {
  return is_word(c) || std::u32string_view(U"!\"'&.,?").find(c) != std::u32string_view::npos;
}

class Chunker {
 public:
  Chunker(std::u32string_view text, bool hyphens) : text_(text), hyphens_(hyphens) {}

  std::vector<std::u32string> run() {
    std::vector<std::u32string> chunks;
    std::size_t at = 0;
    while (at < text_.size()) {
      const std::size_t end = hyphens_ ? chunk_end(at) : plain_end(at);
      chunks.emplace_back(text_.substr(at, end - at));
      at = end;
    }
    return chunks;
  }

 private:
  char32_t char_at(std::size_t i) const { return i < text_.size() ? text_[i] : 0; }
  bool letter(std::size_t i) const { return i < text_.size() && is_letter(text_[i]); }

  std::size_t plain_end(std::size_t at) const {
    const bool blank = is_blank(text_[at]);
    while (at < text_.size() && is_blank(text_[at]) == blank) ++at;
    return at;
  }

  // The end of a run of two or more dashes before a word, 0 where none starts at `at` behind a word.
  std::size_t dash_end(std::size_t at) const {
    if (at == 0 || !ends_word(text_[at - 1])) return 0;
    std::size_t end = at;
    while (char_at(end) == '-') ++end;
    return end - at >= 2 && end < text_.size() && is_word(text_[end]) ? end : 0;
  }

  std::size_t chunk_end(std::size_t at) const {
    if (is_blank(text_[at])) return plain_end(at);
    if (const std::size_t end = dash_end(at)) return end;
    for (std::size_t i = at + 1; i <= text_.size(); ++i) {
      if (i == text_.size() || is_blank(text_[i])) return i;
      if (dash_end(i) != 0) return i;
      // "foo-bar" breaks behind a hyphen that has two letters (or "a-") before it and letters behind it.
      if (text_[i] != '-' || i + 1 >= text_.size()) continue;
      const bool before = (i >= 2 && letter(i - 1) && letter(i - 2)) ||
                          (i >= 3 && letter(i - 1) && text_[i - 2] == '-' && ends_word(text_[i - 3]));
      const bool behind = letter(i + 1) && (letter(i + 2) || (char_at(i + 2) == '-' && letter(i + 3)));
      if (before && behind) return i + 1;
    }
    return text_.size();
  }

  std::u32string_view text_;
  bool hyphens_;
};

bool blank_chunk(const std::u32string& chunk) { return std::all_of(chunk.begin(), chunk.end(), is_space); }

}  // namespace

std::vector<std::string> wrap_text(std::string_view text, const WrapOptions& options, Budget& budget) {
  if (options.width <= 0) raise("invalid width {} (must be > 0)", options.width);
  budget.charge_allocation(16 * text.size());
  const auto width = static_cast<std::size_t>(options.width);
  std::vector<std::u32string> chunks = Chunker(to_code_points(text), options.break_on_hyphens).run();
  std::reverse(chunks.begin(), chunks.end());
  std::vector<std::string> lines;
  while (!chunks.empty()) {
    budget.charge(kWorkOfANode);
    if (!lines.empty() && blank_chunk(chunks.back())) chunks.pop_back();
    std::vector<std::u32string> line;
    std::size_t length = 0;
    while (!chunks.empty() && length + chunks.back().size() <= width) {
      length += chunks.back().size();
      line.push_back(std::move(chunks.back()));
      chunks.pop_back();
    }
    if (!chunks.empty() && chunks.back().size() > width) {
      std::u32string& word = chunks.back();
      if (options.break_long_words) {
        const std::size_t room = width - length;
        std::size_t end = room;
        if (options.break_on_hyphens && word.size() > room && room > 0) {
          // Behind the last hyphen that fits, unless all before it are hyphens.
          const std::size_t hyphen = word.substr(0, room).rfind(U'-');
          if (hyphen != std::u32string::npos && hyphen > 0 && word.find_first_not_of(U'-') < hyphen) {
            end = hyphen + 1;
          }
        }
        budget.charge(word.size());
        line.push_back(word.substr(0, end));
        word.erase(0, end);
      } else if (line.empty()) {
        line.push_back(std::move(word));
        chunks.pop_back();
      }
    }
    if (!line.empty() && blank_chunk(line.back())) line.pop_back();
    if (line.empty()) continue;
    std::u32string whole;
    for (const std::u32string& chunk : line) whole += chunk;
    lines.push_back(to_utf8(whole));
  }
  return lines;
}

}  // namespace octavo::text::jinja
