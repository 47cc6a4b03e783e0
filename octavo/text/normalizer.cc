// The steps of a normalizer, each as the tokenizers library defines it.
#include "octavo/text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "octavo/base/text.h"
#include "octavo/text/charsmap.h"
#include "octavo/text/regex.h"
#include "octavo/text/unicode_normalize.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

constexpr int kMaxNesting = 16;

// The character that stands for each byte: itself when it is printable, else U+0100 and up, in order (GPT-2's
// encoder.py).
struct ByteLevelTable {
  std::array<char32_t, 256> character{};
  std::array<std::int16_t, 512> byte{};
  ByteLevelTable() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (char32_t b = 0; b < 256; ++b) {
      const bool itself = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      character[b] = itself ? b : next++;
      byte[character[b]] = static_cast<std::int16_t>(b);
    }
  }
};

const ByteLevelTable& byte_level_table() {
  static const ByteLevelTable table;
  return table;
}

class Form final : public NormalizerStep {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  Status apply(std::string& text, bool&) const override {
    text = normalize_unicode(text, form_);
    return {};
  }

 private:
  NormalForm form_;
};

class Lowercase final : public NormalizerStep {
 public:
  Status apply(std::string& text, bool&) const override {
    text = lowercase(text);
    return {};
  }
};

// Maps each character to another or drops it.
class PerCharacter final : public NormalizerStep {
 public:
  using Map = std::optional<char32_t> (*)(char32_t);
  explicit PerCharacter(Map map) : map_(map) {}
  Status apply(std::string& text, bool& at_start) const override {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = first_code_point(std::string_view(text).substr(at));
      if (const auto mapped = map_(c.value)) {
        append_utf8(out, *mapped);
      } else if (at == 0) {
        at_start = false;
      }
      at += std::max<std::size_t>(c.length, 1);
    }
    text = std::move(out);
    return {};
  }

 private:
  Map map_;
};

std::optional<char32_t> without_marks(char32_t c) {
  if (is_mark(c)) return std::nullopt;
  return c;
}

// SentencePiece's nmt rules for control characters and spaces.
std::optional<char32_t> nmt(char32_t c) {
  if ((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) {
    return std::nullopt;
  }
  const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  return space ? U' ' : c;
}

class Strip final : public NormalizerStep {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  Status apply(std::string& text, bool& at_start) const override {
    std::size_t begin = 0, end = text.size();
    while (left_ && begin < end) {
      const CodePoint c = first_code_point(std::string_view(text).substr(begin));
      if (!is_whitespace(c.value)) break;
      begin += c.length;
    }
    while (right_ && end > begin) {
      std::size_t last = end - 1;
      while (last > begin && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
      if (!is_whitespace(first_code_point(std::string_view(text).substr(last)).value)) break;
      end = last;
    }
    if (begin > 0) at_start = false;
    text = text.substr(begin, end - begin);
    return {};
  }

 private:
  bool left_, right_;
};

class Prepend final : public NormalizerStep {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  Status apply(std::string& text, bool&) const override {
    if (!text.empty()) text.insert(0, prefix_);
    return {};
  }

 private:
  std::string prefix_;
};

class Replace final : public NormalizerStep {
 public:
  Replace(Regex regex, std::string content) : regex_(std::move(regex)), content_(std::move(content)) {}
  Status apply(std::string& text, bool& at_start) const override {
    if (text.empty()) return {};
    std::string out;
    out.reserve(text.size());
    std::size_t done = 0;
    Regex::Scan scan(regex_, text);
    for (;;) {
      OCTAVO_ASSIGN(const bool found, scan.next());
      if (!found) break;
      OCTAVO_TRY(check_growth(text.size(), out.size()));
      // The library aligns a replacement with the last character that it replaces.
      const std::string_view gone = std::string_view(text).substr(scan.begin(), scan.end() - scan.begin());
      if (scan.begin() == 0 && !gone.empty() && (content_.empty() || gone.size() > utf8_length_of(gone[0]))) {
        at_start = false;
      }
      out.append(text, done, scan.begin() - done);
      out += content_;
      done = scan.end();
    }
    out.append(text, done, text.size() - done);
    text = std::move(out);
    return {};
  }

 private:
  Regex regex_;
  std::string content_;
};

class ByteLevel final : public NormalizerStep {
 public:
  Status apply(std::string& text, bool&) const override {
    std::string out;
    append_byte_level(text, out);
    text = std::move(out);
    return {};
  }
};

// SentencePiece's rules as the tokenizers library applies them: to whole grapheme clusters below 6 bytes, else to
// characters, and by the shortest prefix that has a rule.
class Precompiled final : public NormalizerStep {
 public:
  explicit Precompiled(Charsmap map) : map_(std::move(map)) {}
  Status apply(std::string& text, bool& at_start) const override {
    constexpr std::size_t kWholeBelow = 6;
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = grapheme_end(text, at);
      const std::string_view grapheme = std::string_view(text).substr(at, end - at);
      const auto whole = grapheme.size() < kWholeBelow ? map_.shortest(grapheme) : std::nullopt;
      if (whole) out += whole->replacement;
      for (std::size_t i = 0; !whole && i < grapheme.size();) {
        const std::string_view c = grapheme.substr(i, utf8_length_of(grapheme[i]));
        const auto rule = map_.shortest(c);
        out += rule ? rule->replacement : c;
        i += c.size();
      }
      if (at == 0 && out.empty()) at_start = false;
      OCTAVO_TRY(check_growth(text.size(), out.size()));
      at = end;
    }
    text = std::move(out);
    return {};
  }

 private:
  static std::size_t grapheme_end(std::string_view text, std::size_t at) {
    CodePoint c = first_code_point(text.substr(at));
    utf8proc_int32_t state = 0;
    for (;;) {
      at += std::max<std::size_t>(c.length, 1);
      if (at >= text.size()) return text.size();
      const CodePoint next = first_code_point(text.substr(at));
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.value),
                                           static_cast<utf8proc_int32_t>(next.value), &state)) {
        return at;
      }
      c = next;
    }
  }
  Charsmap map_;
};

Result<std::string> decode_base64(const JsonField& field) {
  OCTAVO_ASSIGN(const std::string text, field.string());
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (value < 0) return field.error("is not base64");
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>((bits >> count) & 0xFF);
    }
  }
  return out;
}

Result<std::unique_ptr<NormalizerStep>> parse_step(const JsonField& field, const std::string& type) {
  using Step = std::unique_ptr<NormalizerStep>;
  if (type == "NFC") return Step(new Form(NormalForm::kNfc));
  if (type == "NFD") return Step(new Form(NormalForm::kNfd));
  if (type == "NFKC") return Step(new Form(NormalForm::kNfkc));
  if (type == "NFKD") return Step(new Form(NormalForm::kNfkd));
  if (type == "Lowercase") return Step(new Lowercase());
  if (type == "StripAccents") return Step(new PerCharacter(&without_marks));
  if (type == "Nmt") return Step(new PerCharacter(&nmt));
  if (type == "ByteLevel") return Step(new ByteLevel());
  if (type == "Strip") {
    OCTAVO_ASSIGN(const bool left, field.boolean("strip_left"));
    OCTAVO_ASSIGN(const bool right, field.boolean("strip_right"));
    return Step(new Strip(left, right));
  }
  if (type == "Prepend") {
    OCTAVO_ASSIGN(std::string prefix, field.string("prepend"));
    return Step(new Prepend(std::move(prefix)));
  }
  if (type == "Replace") {
    OCTAVO_ASSIGN(const JsonField pattern, field.member("pattern"));
    OCTAVO_ASSIGN(Regex regex, parse_pattern(pattern));
    OCTAVO_ASSIGN(std::string content, field.string("content"));
    return Step(new Replace(std::move(regex), std::move(content)));
  }
  if (type == "Precompiled") {
    OCTAVO_ASSIGN(const JsonField blob, field.member("precompiled_charsmap"));
    OCTAVO_ASSIGN(const std::string bytes, decode_base64(blob));
    auto map = Charsmap::parse(bytes);
    if (!map.ok()) return std::move(map).error().context(blob.pointer());
    return Step(new Precompiled(std::move(*map)));
  }
  return field.error("the normalizer \"{}\" is not supported", printable(type));
}

Status parse_into(const JsonField& field, Normalizer& out, int depth) {
  if (depth > kMaxNesting) return field.error("normalizers are nested deeper than {}", kMaxNesting);
  OCTAVO_ASSIGN(const std::string type, field.type());
  if (type == "Sequence") {
    OCTAVO_ASSIGN(const JsonField list, field.member("normalizers"));
    OCTAVO_ASSIGN(const auto items, list.items());
    for (const JsonField& item : items) OCTAVO_TRY(parse_into(item, out, depth + 1));
    return {};
  }
  OCTAVO_ASSIGN(auto step, parse_step(field, type));
  out.add(std::move(step));
  return {};
}

}  // namespace

Status check_growth(std::size_t before, std::size_t after) {
  constexpr std::size_t kMostTimes = 18;  // U+FDFA
  if (after <= std::max(kMostTimes * before, kMostNormalized)) return {};
  return failure("normalizing makes {} bytes of text more than {}", before,
                 std::max(kMostTimes * before, kMostNormalized));
}

Result<Regex> parse_pattern(const JsonField& field) {
  const auto literal = field.find("String"), regex = field.find("Regex");
  if (literal.has_value() == regex.has_value()) return field.error("must be {{\"String\": ...}} or {{\"Regex\": ...}}");
  const JsonField& source = literal ? *literal : *regex;
  OCTAVO_ASSIGN(const std::string text, source.string());
  auto compiled = literal ? Regex::literal(text) : Regex::compile(text);
  return std::move(compiled).context(source.pointer());
}

Result<Normalizer> parse_normalizer(const JsonField& field) {
  Normalizer out;
  if (field.json().is_null()) return out;
  OCTAVO_TRY(parse_into(field, out, 0));
  return out;
}

std::unique_ptr<NormalizerStep> make_nfc() { return std::make_unique<Form>(NormalForm::kNfc); }

void append_byte_level(std::string_view bytes, std::string& out) {
  const auto& table = byte_level_table().character;
  for (const char c : bytes) append_utf8(out, table[static_cast<unsigned char>(c)]);
}

int byte_of_level(char32_t c) {
  const auto& table = byte_level_table().byte;
  return c < table.size() ? table[c] : -1;
}

}  // namespace octavo::text
