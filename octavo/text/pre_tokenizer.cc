// The steps of a pre-tokenizer, each as the tokenizers library defines it.
#include "octavo/text/pre_tokenizer.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "octavo/base/text.h"
#include "octavo/text/normalizer.h"
#include "octavo/text/regex.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

constexpr int kMaxNesting = 16;
constexpr std::string_view kGpt2Regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Parts tile the piece, in order; the flag says whether the pattern matched there.
struct Part {
  std::size_t begin, end;
  bool match;
};

// What remains of the parts of one piece; offsets in the piece.
void join(std::vector<Part>& parts, Behavior behavior) {
  std::vector<Part> out;
  bool previous = false;
  switch (behavior) {
    case Behavior::kIsolated: return;
    case Behavior::kRemoved: std::erase_if(parts, [](const Part& p) { return p.match; }); return;
    case Behavior::kContiguous:
      for (const Part& p : parts) {
        if (p.match == previous && !out.empty()) {
          out.back().end = p.end;
        } else {
          out.push_back(p);
        }
        previous = p.match;
      }
      break;
    case Behavior::kMergedWithPrevious:
      for (const Part& p : parts) {
        if (p.match && !previous && !out.empty()) {
          out.back().end = p.end;
        } else {
          out.push_back(p);
        }
        previous = p.match;
      }
      break;
    case Behavior::kMergedWithNext:
      for (auto p = parts.rbegin(); p != parts.rend(); ++p) {
        if (p->match && !previous && !out.empty()) {
          out.back().begin = p->begin;
        } else {
          out.push_back(*p);
        }
        previous = p->match;
      }
      std::reverse(out.begin(), out.end());
      break;
  }
  parts = std::move(out);
}

// Cuts every piece by find(text, parts), which fills parts that tile the text.
template <typename Find>
Status split(Pieces& pieces, Behavior behavior, Find find) {
  std::vector<Span> spans;
  spans.reserve(pieces.spans.size());
  std::vector<Part> parts;
  for (const Span& span : pieces.spans) {
    if (span.token >= 0) {
      spans.push_back(span);
      continue;
    }
    parts.clear();
    OCTAVO_TRY(find(pieces.of(span), parts));
    join(parts, behavior);
    for (const Part& p : parts) {
      if (p.begin < p.end)
        spans.push_back({span.begin + p.begin, span.begin + p.end, -1, span.at_start && p.begin == 0});
    }
  }
  pieces.spans = std::move(spans);
  return {};
}

Status find_regex(const Regex& regex, bool invert, std::string_view text, std::vector<Part>& parts) {
  Regex::Scan scan(regex, text);
  std::size_t done = 0;
  for (;;) {
    OCTAVO_ASSIGN(const bool found, scan.next());
    if (!found) break;
    if (done < scan.begin()) parts.push_back({done, scan.begin(), invert});
    parts.push_back({scan.begin(), scan.end(), !invert});
    done = scan.end();
  }
  if (done < text.size()) parts.push_back({done, text.size(), invert});
  return {};
}

// Every character for which `is` holds is a match of its own.
template <typename Is>
Status find_characters(Is is, std::string_view text, std::vector<Part>& parts) {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = first_code_point(text.substr(at));
    const std::size_t end = at + std::max<std::size_t>(c.length, 1);
    if (is(c.value)) {
      if (done < at) parts.push_back({done, at, false});
      parts.push_back({at, end, true});
      done = end;
    }
    at = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), false});
  return {};
}

// Rewrites the text of every piece but added tokens: rewrite(span, old text, out).
template <typename Rewrite>
void rewrite(Pieces& pieces, Rewrite write) {
  std::string out;
  out.reserve(pieces.text.size() * 2);
  for (Span& span : pieces.spans) {
    const std::size_t begin = out.size();
    if (span.token >= 0) {
      out += pieces.of(span);
    } else {
      write(span, pieces.of(span), out);
    }
    span.begin = begin;
    span.end = out.size();
  }
  pieces.text = std::move(out);
}

class RegexSplit final : public PreTokenizerStep {
 public:
  RegexSplit(Regex regex, Behavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  Status apply(Pieces& pieces) const override {
    return split(pieces, behavior_, [&](std::string_view text, std::vector<Part>& parts) {
      return find_regex(regex_, invert_, text, parts);
    });
  }

 private:
  Regex regex_;
  Behavior behavior_;
  bool invert_;
};

class CharacterSplit final : public PreTokenizerStep {
 public:
  CharacterSplit(std::function<bool(char32_t)> is, Behavior behavior) : is_(std::move(is)), behavior_(behavior) {}
  Status apply(Pieces& pieces) const override {
    return split(pieces, behavior_,
                 [&](std::string_view text, std::vector<Part>& parts) { return find_characters(is_, text, parts); });
  }

 private:
  std::function<bool(char32_t)> is_;
  Behavior behavior_;
};

class ByteLevel final : public PreTokenizerStep {
 public:
  ByteLevel(bool add_prefix_space, std::optional<Regex> regex)
      : add_prefix_space_(add_prefix_space), regex_(std::move(regex)) {}
  Status apply(Pieces& pieces) const override {
    if (add_prefix_space_) {
      rewrite(pieces, [](const Span&, std::string_view text, std::string& out) {
        if (!text.starts_with(' ')) out += ' ';
        out += text;
      });
    }
    if (regex_) {
      OCTAVO_TRY(split(pieces, Behavior::kIsolated, [&](std::string_view text, std::vector<Part>& parts) {
        return find_regex(*regex_, false, text, parts);
      }));
    }
    rewrite(pieces, [](const Span&, std::string_view text, std::string& out) { append_byte_level(text, out); });
    return {};
  }

 private:
  bool add_prefix_space_;
  std::optional<Regex> regex_;
};

enum class Prepend { kFirst, kNever, kAlways };

class Metaspace final : public PreTokenizerStep {
 public:
  Metaspace(char32_t replacement, Prepend prepend, bool cut) : replacement_(replacement), prepend_(prepend), cut_(cut) {
    append_utf8(mark_, replacement);
  }
  Status apply(Pieces& pieces) const override {
    rewrite(pieces, [&](const Span& span, std::string_view text, std::string& out) {
      const bool marked = text.starts_with(' ') || text.starts_with(mark_);
      if (!marked && (prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && span.at_start))) out += mark_;
      for (const char c : text) {
        if (c == ' ') {
          out += mark_;
        } else {
          out += c;
        }
      }
    });
    if (!cut_) return {};
    return split(pieces, Behavior::kMergedWithNext, [&](std::string_view text, std::vector<Part>& parts) {
      return find_characters([&](char32_t c) { return c == replacement_; }, text, parts);
    });
  }

 private:
  char32_t replacement_;
  std::string mark_;
  Prepend prepend_;
  bool cut_;
};

Result<Behavior> parse_behavior(const JsonField& field) {
  OCTAVO_ASSIGN(const std::string name, field.string());
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return field.error("\"{}\" is no behavior (Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous)",
                     printable(name));
}

Result<std::unique_ptr<PreTokenizerStep>> parse_metaspace(const JsonField& field) {
  OCTAVO_ASSIGN(const JsonField replacement, field.member("replacement"));
  OCTAVO_ASSIGN(const char32_t mark, replacement.character());
  Prepend prepend = Prepend::kAlways;
  if (const auto scheme = field.find("prepend_scheme")) {
    OCTAVO_ASSIGN(const std::string name, scheme->string());
    if (name == "first") {
      prepend = Prepend::kFirst;
    } else if (name == "never") {
      prepend = Prepend::kNever;
    } else if (name != "always") {
      return scheme->error("\"{}\" is none of first, never, always", printable(name));
    }
  }
  // Before prepend_scheme there was add_prefix_space.
  OCTAVO_ASSIGN(const bool add, field.boolean("add_prefix_space", true));
  if (!add && field.find("prepend_scheme") && prepend != Prepend::kNever) {
    return field.error("add_prefix_space is false, but prepend_scheme is not \"never\"");
  }
  if (!add) prepend = Prepend::kNever;
  OCTAVO_ASSIGN(const bool cut, field.boolean("split", true));
  return std::unique_ptr<PreTokenizerStep>(new Metaspace(mark, prepend, cut));
}

Result<std::unique_ptr<PreTokenizerStep>> parse_step(const JsonField& field, const std::string& type) {
  using Step = std::unique_ptr<PreTokenizerStep>;
  if (type == "ByteLevel") {
    OCTAVO_ASSIGN(const bool prefix, field.boolean("add_prefix_space"));
    OCTAVO_ASSIGN(const bool use_regex, field.boolean("use_regex", true));
    std::optional<Regex> regex;
    if (use_regex) {
      OCTAVO_ASSIGN(regex, Regex::compile(kGpt2Regex));
    }
    return Step(new ByteLevel(prefix, std::move(regex)));
  }
  if (type == "Metaspace") return parse_metaspace(field);
  if (type == "Split") {
    OCTAVO_ASSIGN(const JsonField pattern, field.member("pattern"));
    OCTAVO_ASSIGN(Regex regex, parse_pattern(pattern));
    OCTAVO_ASSIGN(const JsonField behavior_field, field.member("behavior"));
    OCTAVO_ASSIGN(const Behavior behavior, parse_behavior(behavior_field));
    OCTAVO_ASSIGN(const bool invert, field.boolean("invert"));
    return Step(new RegexSplit(std::move(regex), behavior, invert));
  }
  if (type == "Digits") {
    OCTAVO_ASSIGN(const bool individual, field.boolean("individual_digits"));
    return Step(new CharacterSplit(&is_numeric, individual ? Behavior::kIsolated : Behavior::kContiguous));
  }
  if (type == "Punctuation") {
    Behavior behavior = Behavior::kIsolated;
    if (const auto given = field.find("behavior")) {
      OCTAVO_ASSIGN(behavior, parse_behavior(*given));
    }
    return Step(new CharacterSplit(&is_punctuation, behavior));
  }
  if (type == "WhitespaceSplit") return Step(new CharacterSplit(&is_whitespace, Behavior::kRemoved));
  if (type == "Whitespace") {
    // Rust's \w and \s, which are Unicode TR 18's.
    OCTAVO_ASSIGN(Regex regex, Regex::compile(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200C\u200D]+)"
                                              R"(|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200C\u200D\s]+)"));
    return Step(new RegexSplit(std::move(regex), Behavior::kRemoved, /*invert=*/true));
  }
  if (type == "CharDelimiterSplit") {
    OCTAVO_ASSIGN(const JsonField delimiter, field.member("delimiter"));
    OCTAVO_ASSIGN(const char32_t c, delimiter.character());
    return Step(new CharacterSplit([c](char32_t other) { return other == c; }, Behavior::kRemoved));
  }
  return field.error("the pre-tokenizer \"{}\" is not supported", printable(type));
}

Status parse_into(const JsonField& field, PreTokenizer& out, int depth) {
  if (depth > kMaxNesting) return field.error("pre-tokenizers are nested deeper than {}", kMaxNesting);
  OCTAVO_ASSIGN(const std::string type, field.type());
  if (type == "Sequence") {
    OCTAVO_ASSIGN(const JsonField list, field.member("pretokenizers"));
    OCTAVO_ASSIGN(const auto items, list.items());
    for (const JsonField& item : items) OCTAVO_TRY(parse_into(item, out, depth + 1));
    return {};
  }
  if (type == "BertPreTokenizer") {
    out.add(std::make_unique<CharacterSplit>(&is_whitespace, Behavior::kRemoved));
    out.add(std::make_unique<CharacterSplit>(&is_punctuation, Behavior::kIsolated));
    return {};
  }
  OCTAVO_ASSIGN(auto step, parse_step(field, type));
  out.add(std::move(step));
  return {};
}

}  // namespace

Result<PreTokenizer> parse_pre_tokenizer(const JsonField& field) {
  PreTokenizer out;
  if (field.json().is_null()) return out;
  OCTAVO_TRY(parse_into(field, out, 0));
  return out;
}

Result<PreTokenizer> make_byte_level(std::string_view regex, bool add_prefix_space) {
  PreTokenizer out;
  if (regex.empty()) {
    OCTAVO_ASSIGN(Regex gpt2, Regex::compile(kGpt2Regex));
    out.add(std::make_unique<ByteLevel>(add_prefix_space, std::move(gpt2)));
    return out;
  }
  OCTAVO_ASSIGN(Regex compiled, Regex::compile(regex));
  out.add(std::make_unique<RegexSplit>(std::move(compiled), Behavior::kIsolated, false));
  out.add(std::make_unique<ByteLevel>(add_prefix_space, std::nullopt));
  return out;
}

}  // namespace octavo::text
