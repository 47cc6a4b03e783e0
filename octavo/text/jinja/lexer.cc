// The lexer. The rules are those of jinja2's documentation ("Whitespace Control", "Literals") as its lexer applies
// them.
#include "octavo/text/jinja/lexer.h"

#include <algorithm>
#include <optional>

#include "octavo/text/jinja/error.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/string_literal.h"
#include "octavo/text/jinja/unicode.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

// \r\n and \r become \n; one newline at the very end goes (keep_trailing_newline=False).
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

int count_newlines(std::string_view text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

constexpr std::string_view kLongOperators[] = {"//", "**", "==", "!=", ">=", "<="};
constexpr std::string_view kShortOperators = "+-/*%~[](){}><=.:|,;";

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    try {
      while (at_ < source_.size()) text();
      // The end stands where the last token does: jinja2 has no token to take its line from either.
      tokens_.push_back({TokenKind::kEnd, tokens_.empty() ? 1 : tokens_.back().line, ""});
    } catch (TemplateError& error) {
      add(TokenKind::kError, std::move(error.message));
    }
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool sees(std::string_view text) const { return rest().starts_with(text); }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }

  // Goes over `bytes` bytes and counts their lines.
  std::string_view take(std::size_t bytes) {
    const std::string_view taken = rest().substr(0, bytes);
    at_ += bytes;
    line_ += count_newlines(taken);
    line_starts_ = taken.ends_with('\n');
    return taken;
  }
  std::size_t spaces_at(std::size_t from) const {
    const std::string_view text = std::string_view(source_).substr(from);
    return text.size() - strip_space(text, 1).size();
  }

  // The text before a tag, without what the tag's sign or lstrip_blocks takes from its end.
  void add_data(std::string_view data, char sign, bool strips_line) {
    std::string_view kept = data;
    if (sign == '-') {
      kept = strip_space(data, 2);
    } else if (sign != '+' && strips_line) {
      const std::size_t newline = data.rfind('\n');
      const std::size_t last_line = newline == data.npos ? 0 : newline + 1;
      if ((last_line > 0 || line_starts_) && strip_space(data.substr(last_line)).empty()) {
        kept = data.substr(0, last_line);
      }
    }
    if (!kept.empty()) add(TokenKind::kData, std::string(kept));
    line_ += count_newlines(data);
  }

  // The bytes of "raw %}" behind "{%" and its sign, or 0.
  std::size_t raw_begin(std::size_t from) const {
    std::size_t i = from + spaces_at(from);
    const std::string_view all = source_;
    if (!all.substr(i).starts_with("raw")) return 0;
    i += 3;
    i += spaces_at(i);
    if (all.substr(i).starts_with("%}")) return i + 2 - from;
    if (all.substr(i).starts_with("-%}")) return i + 3 + spaces_at(i + 3) - from;
    return 0;
  }

  // Behind the end of a block or comment: what `end` takes with it. `sign` stands before it.
  std::size_t end_length(char sign, std::size_t end, std::size_t width) const {
    std::size_t length = width;
    if (sign == '-') {
      length += spaces_at(end + width);
    } else if (sign != '+' && end + width < source_.size() && source_[end + width] == '\n') {
      ++length;  // trim_blocks
    }
    return length;
  }

  // Text up to the next tag, and the tag.
  void text() {
    std::size_t open = at_;
    while (true) {
      open = source_.find('{', open);
      if (open == std::string::npos || open + 1 >= source_.size()) {
        add(TokenKind::kData, source_.substr(at_));
        line_ += count_newlines(rest());
        at_ = source_.size();
        return;
      }
      const char next = source_[open + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++open;
    }
    const char type = source_[open + 1];
    const char sign =
        open + 2 < source_.size() && (source_[open + 2] == '-' || source_[open + 2] == '+') ? source_[open + 2] : '\0';
    add_data(rest().substr(0, open - at_), sign, type != '{');
    at_ = open;
    take(sign == 0 ? 2 : 3);
    if (type == '#') return comment();
    if (type == '{') {
      add(TokenKind::kVariableBegin, "");
      return tag(/*block=*/false);
    }
    if (const std::size_t raw_length = raw_begin(at_)) {
      take(raw_length);
      return raw();
    }
    add(TokenKind::kBlockBegin, "");
    tag(/*block=*/true);
  }

  void comment() {
    if (at_ == source_.size()) return;  // jinja2 takes an opening at the very end for nothing
    const std::size_t end = source_.find("#}", at_);
    if (end == std::string::npos) raise("Missing end of comment tag");
    const char sign = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+') ? source_[end - 1] : '\0';
    take(end - at_);
    take(end_length(sign, end, 2));
  }

  void raw() {
    if (at_ == source_.size()) return;
    const std::string_view all = source_;
    for (std::size_t open = at_; (open = all.find("{%", open)) != all.npos; ++open) {
      std::size_t i = open + 2;
      char sign = 0;
      if (i < all.size() && (all[i] == '-' || all[i] == '+')) sign = all[i++];
      i += spaces_at(i);
      if (!all.substr(i).starts_with("endraw")) continue;
      i += 6;
      i += spaces_at(i);
      char end_sign = 0;
      if (i < all.size() && (all[i] == '-' || all[i] == '+')) end_sign = all[i++];
      if (!all.substr(i).starts_with("%}")) continue;
      const std::size_t length = end_length(end_sign, i, 2);
      add_data(rest().substr(0, open - at_), sign, true);
      at_ = open;
      take(i + length - open);
      return;
    }
    raise("Missing end of raw directive");
  }

  // Tokens up to the end of the tag, which only counts outside of brackets.
  void tag(bool block) {
    brackets_.clear();
    while (at_ < source_.size()) {
      if (brackets_.empty() && end_of_tag(block)) return;
      token();
    }
  }

  bool end_of_tag(bool block) {
    const std::string_view end = block ? "%}" : "}}";
    const char sign = sees("-") || (block && sees("+")) ? source_[at_] : '\0';
    const std::size_t skip = sign == 0 ? 0 : 1;
    if (!rest().substr(skip).starts_with(end)) return false;
    add(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
    // Only a block's end takes the newline behind it.
    const std::size_t length = block || sign == '-' ? end_length(sign, at_ + skip, 2) : 2;
    take(skip + length);
    return true;
  }

  void token() {
    if (const std::size_t spaces = spaces_at(at_); spaces > 0) {
      take(spaces);
      return;
    }
    const char c = source_[at_];
    if (c >= '0' && c <= '9') return number();
    if (is_identifier_start(first_code_point(rest()).value)) return name();
    if (c == '\'' || c == '"') {
      if (const std::size_t end = end_of_string(rest()); end > 0) {
        const int line = line_;
        const std::string_view quoted = take(end);
        tokens_.push_back({TokenKind::kString, line, unescape(quoted.substr(1, quoted.size() - 2))});
        return;
      }
    }
    for (const std::string_view symbol : kLongOperators) {
      if (sees(symbol)) return add(TokenKind::kOperator, std::string(take(symbol.size())));
    }
    if (kShortOperators.find(c) == kShortOperators.npos) {
      raise("unexpected char {}", repr_of_string(rest().substr(0, first_code_point(rest()).length)));
    }
    balance(c);
    add(TokenKind::kOperator, std::string(take(1)));
  }

  void balance(char c) {
    if (c == '(') brackets_ += ')';
    if (c == '[') brackets_ += ']';
    if (c == '{') brackets_ += '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (brackets_.empty()) raise("unexpected '{}'", c);
    if (brackets_.back() != c) raise("unexpected '{}', expected '{}'", c, brackets_.back());
    brackets_.pop_back();
  }

  void name() {
    std::size_t length = 0;
    while (at_ + length < source_.size()) {
      const CodePoint c = first_code_point(rest().substr(length));
      if (!is_identifier_part(c.value)) break;
      length += c.length;
    }
    add(TokenKind::kName, std::string(take(length)));
  }

  // Bytes of digits of `base` from `i`, single underscores between them.
  std::size_t digits_at(std::size_t i, int base) const {
    const auto is_digit_of = [&](std::size_t at) {
      if (at >= source_.size()) return false;
      const char c = source_[at];
      const int value = c >= '0' && c <= '9'                     ? c - '0'
                        : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                                 : 99;
      return value < base;
    };
    const std::size_t start = i;
    if (!is_digit_of(i)) return 0;
    while (true) {
      while (is_digit_of(i)) ++i;
      if (i < source_.size() && source_[i] == '_' && is_digit_of(i + 1)) {
        ++i;
        continue;
      }
      return i - start;
    }
  }

  // A float's length at `at_`, or 0: digits with a fraction, an exponent or both, not behind a dot.
  std::size_t float_length() const {
    if (at_ > 0 && source_[at_ - 1] == '.') return 0;
    std::size_t i = at_ + digits_at(at_, 10);
    bool is_float = false;
    if (i < source_.size() && source_[i] == '.') {
      if (const std::size_t fraction = digits_at(i + 1, 10)) {
        i += 1 + fraction;
        is_float = true;
      }
    }
    if (i < source_.size() && (source_[i] == 'e' || source_[i] == 'E')) {
      const std::size_t sign = i + 1 < source_.size() && (source_[i + 1] == '+' || source_[i + 1] == '-') ? 1 : 0;
      if (const std::size_t exponent = digits_at(i + 1 + sign, 10)) {
        i += 1 + sign + exponent;
        is_float = true;
      }
    }
    return is_float ? i - at_ : 0;
  }

  std::size_t integer_length() const {
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char letter = static_cast<char>(source_[at_ + 1] | 0x20);
      const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
      if (base != 0) {
        const std::size_t underscore = at_ + 2 < source_.size() && source_[at_ + 2] == '_' ? 1 : 0;
        if (const std::size_t digits = digits_at(at_ + 2 + underscore, base)) return 2 + underscore + digits;
      }
    }
    // A leading zero is a number of its own: "012" is 0 and then 12.
    return source_[at_] == '0' ? digits_at(at_, 1) : digits_at(at_, 10);
  }

  void number() {
    if (const std::size_t length = float_length()) {
      const double value = parse_float(rest().substr(0, length)).value_or(0);
      tokens_.push_back({TokenKind::kFloat, line_, std::string(take(length)), 0, value});
      return;
    }
    const std::size_t length = integer_length();
    const Value value = *parse_integer(rest().substr(0, length), 0);
    tokens_.push_back({TokenKind::kInteger, line_, std::string(take(length)), value.as_integer()});
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // nothing but a newline stands before at_
  std::string brackets_;     // the closing ones that are due
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(normalize_newlines(source)).run(); }

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData: return "template data / text";
    case TokenKind::kVariableBegin: return "begin of print statement";
    case TokenKind::kVariableEnd: return "end of print statement";
    case TokenKind::kBlockBegin: return "begin of statement block";
    case TokenKind::kBlockEnd: return "end of statement block";
    case TokenKind::kString: return "string";
    case TokenKind::kInteger: return "integer";
    case TokenKind::kFloat: return "float";
    case TokenKind::kEnd: return "end of template";
    default: return token.text;
  }
}

}  // namespace octavo::text::jinja
