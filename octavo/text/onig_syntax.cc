// One pass over the pattern; classes are parsed, everything else is copied or replaced.
#include "octavo/text/onig_syntax.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "octavo/base/text.h"
#include "octavo/text/unicode_additions.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

constexpr int kMaxNesting = 100;

// The inside of a class for each shorthand.
constexpr std::string_view kSpace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
// Below U+0100 Oniguruma counts superscripts and fractions as word characters.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr std::string_view kHex = "0-9A-Fa-f";

std::string loose(std::string_view name) {  // property names ignore case, spaces, - and _
  std::string out;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

struct Named {
  std::string_view name;   // loose
  std::string_view items;  // of a class
};

// POSIX names as Oniguruma defines them on Unicode, and the long names of general categories.
constexpr auto kNamed = std::to_array<Named>({
    {"alnum", R"(\p{Alphabetic}\p{Nd})"},
    {"alpha", R"(\p{Alphabetic})"},
    {"blank", R"(\t\p{Zs})"},
    {"cntrl", R"(\p{Cc})"},
    {"digit", R"(\p{Nd})"},
    {"lower", R"(\p{Lowercase})"},
    {"punct", R"(\p{P}\p{S})"},
    {"space", kSpace},
    {"upper", R"(\p{Uppercase})"},
    {"xdigit", kHex},
    {"word", kWord},
    {"ascii", R"(\x00-\x7F)"},
    {"any", R"(\x00-\x{10FFFF})"},
    {"assigned", R"(\P{Cn})"},
    {"other", R"(\p{C})"},
    {"control", R"(\p{Cc})"},
    {"format", R"(\p{Cf})"},
    {"unassigned", R"(\p{Cn})"},
    {"privateuse", R"(\p{Co})"},
    {"letter", R"(\p{L})"},
    {"lowercaseletter", R"(\p{Ll})"},
    {"modifierletter", R"(\p{Lm})"},
    {"otherletter", R"(\p{Lo})"},
    {"titlecaseletter", R"(\p{Lt})"},
    {"uppercaseletter", R"(\p{Lu})"},
    {"mark", R"(\p{M})"},
    {"combiningmark", R"(\p{M})"},
    {"spacingmark", R"(\p{Mc})"},
    {"enclosingmark", R"(\p{Me})"},
    {"nonspacingmark", R"(\p{Mn})"},
    {"number", R"(\p{N})"},
    {"decimalnumber", R"(\p{Nd})"},
    {"letternumber", R"(\p{Nl})"},
    {"othernumber", R"(\p{No})"},
    {"punctuation", R"(\p{P})"},
    {"connectorpunctuation", R"(\p{Pc})"},
    {"dashpunctuation", R"(\p{Pd})"},
    {"closepunctuation", R"(\p{Pe})"},
    {"finalpunctuation", R"(\p{Pf})"},
    {"initialpunctuation", R"(\p{Pi})"},
    {"otherpunctuation", R"(\p{Po})"},
    {"openpunctuation", R"(\p{Ps})"},
    {"symbol", R"(\p{S})"},
    {"currencysymbol", R"(\p{Sc})"},
    {"modifiersymbol", R"(\p{Sk})"},
    {"mathsymbol", R"(\p{Sm})"},
    {"othersymbol", R"(\p{So})"},
    {"separator", R"(\p{Z})"},
    {"lineseparator", R"(\p{Zl})"},
    {"paragraphseparator", R"(\p{Zp})"},
    {"spaceseparator", R"(\p{Zs})"},
});

// Binary properties, which PCRE2 knows by the same names; any other name of three letters or more is a script.
constexpr auto kBinary = std::to_array<std::string_view>({"alphabetic",
                                                          "asciihexdigit",
                                                          "bidicontrol",
                                                          "bidimirrored",
                                                          "cased",
                                                          "caseignorable",
                                                          "dash",
                                                          "defaultignorablecodepoint",
                                                          "deprecated",
                                                          "diacritic",
                                                          "emoji",
                                                          "emojicomponent",
                                                          "emojimodifier",
                                                          "emojimodifierbase",
                                                          "emojipresentation",
                                                          "extendedpictographic",
                                                          "extender",
                                                          "graphemebase",
                                                          "graphemeextend",
                                                          "hexdigit",
                                                          "idcontinue",
                                                          "idstart",
                                                          "ideographic",
                                                          "joincontrol",
                                                          "lowercase",
                                                          "math",
                                                          "noncharactercodepoint",
                                                          "patternsyntax",
                                                          "patternwhitespace",
                                                          "quotationmark",
                                                          "radical",
                                                          "regionalindicator",
                                                          "sentenceterminal",
                                                          "softdotted",
                                                          "terminalpunctuation",
                                                          "unifiedideograph",
                                                          "uppercase",
                                                          "variationselector",
                                                          "whitespace",
                                                          "xidcontinue",
                                                          "xidstart"});

// Class items of \p{name} as PCRE2 knows it, and what its Unicode version may lack. Scripts and other properties go
// without, but for Han, the only one that has grown much.
std::string with_additions(std::string_view items) {
  std::string out(items);
  for (std::size_t at = 0; (at = items.find("\\p{", at)) != items.npos; ++at) {
    const std::string_view name = items.substr(at + 3, items.find('}', at) - at - 3);
    out += added_class_items(name == "Alphabetic"  ? "L"
                             : name == "Lowercase" ? "Ll"
                             : name == "Uppercase" ? "Lu"
                                                   : name);
    if (name == "sc:Han") out += R"(\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";
  }
  return out;
}

std::string items_of(std::string_view name) {
  const std::string key = loose(name);
  for (const Named& named : kNamed) {
    if (named.name == key) return with_additions(named.items);
  }
  if (key == "whitespace") return std::string(kSpace);
  if (key == "han") return with_additions(R"(\p{sc:Han})");
  for (const std::string_view binary : {"Alphabetic", "Lowercase", "Uppercase"}) {
    if (key == loose(binary)) return with_additions(fmt::format("\\p{{{}}}", binary));
  }
  if (key.size() <= 2) {
    std::string proper = key;  // "lu" is Lu
    if (!proper.empty() && proper[0] >= 'a' && proper[0] <= 'z') proper[0] = static_cast<char>(proper[0] - 'a' + 'A');
    return with_additions(fmt::format("\\p{{{}}}", proper));
  }
  if (std::find(kBinary.begin(), kBinary.end(), key) != kBinary.end()) {
    return fmt::format("\\p{{{}}}", name);
  }
  return fmt::format("\\p{{sc:{}}}", name);
}

// A set of characters as a regular expression that matches one: a plain class, or an alternation.
struct Set {
  std::string items;                // inside of a positive class
  std::vector<std::string> others;  // further one-character expressions
  std::string regex(bool negated) const {
    if (others.empty() && !items.empty()) return fmt::format("[{}{}]", negated ? "^" : "", items);
    std::string any = items.empty() ? "" : fmt::format("[{}]", items);
    for (const std::string& other : others) any += (any.empty() ? "" : "|") + other;
    if (any.empty()) any = "(?!)";
    return negated ? fmt::format("(?:(?!{})(?s:.))", any) : fmt::format("(?:{})", any);
  }
  void add(std::string_view more, bool negated) {
    if (negated) {
      others.push_back(fmt::format("[^{}]", more));
    } else {
      items += more;
    }
  }
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> run() {
    open_.push_back({});
    while (at_ < in_.size()) OCTAVO_TRY(step());
    if (open_.size() > 1) return failure("a group is not closed");
    close_options();
    return std::move(out_);
  }

 private:
  struct Group {
    std::size_t begin = 0;  // in out_
    int options = 0;        // groups opened for "(?i)" in the middle
  };

  bool eat(std::string_view text) {
    if (!in_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  void atom(std::string_view text) {
    atom_ = out_.size();
    out_ += text;
  }
  void close_options() { out_.append(static_cast<std::size_t>(open_.back().options), ')'); }

  Status step() {
    const char c = in_[at_];
    switch (c) {
      case '\\': return escape();
      case '[': {
        ++at_;
        OCTAVO_ASSIGN(const std::string text, set(0));
        atom(text);
        return {};
      }
      case '(': return open();
      case ')': {
        if (open_.size() == 1) return failure("a ) closes no group");
        close_options();
        out_ += ')';
        atom_ = open_.back().begin;
        open_.pop_back();
        ++at_;
        return {};
      }
      case '{': return interval();
      case '*':
      case '+':
      case '?':
      case '|':
      case '^':
      case '$':
        out_ += c;
        ++at_;
        return {};
      default: {
        const std::size_t length = std::min(utf8_length_of(c), in_.size() - at_);
        atom(in_.substr(at_, length));
        at_ += length;
        return {};
      }
    }
  }

  Status open() {
    if (open_.size() > kMaxNesting) return failure("groups are nested deeper than {}", kMaxNesting);
    if (in_.substr(at_).starts_with("(?#")) {
      const std::size_t end = in_.find(')', at_);
      if (end == in_.npos) return failure("a comment is not closed");
      at_ = end + 1;
      return {};
    }
    if (in_.substr(at_).starts_with("(?~")) return failure("the absence operator (?~...) is not supported");
    const Group group{out_.size(), 0};
    ++at_;
    if (!eat("?")) {
      out_ += '(';
      open_.push_back(group);
      return {};
    }
    std::size_t end = at_;
    while (end < in_.size() && (in_[end] == 'i' || in_[end] == 'm' || in_[end] == 'x' || in_[end] == '-')) ++end;
    if (end < in_.size() && (in_[end] == ':' || (in_[end] == ')' && end > at_))) {
      std::string options(in_.substr(at_, end - at_));
      std::replace(options.begin(), options.end(), 'm', 's');
      out_ += fmt::format("(?{}:", options);
      at_ = end + 1;
      if (in_[end] == ':') {
        open_.push_back(group);
      } else if (++open_.back().options > kMaxNesting) {
        return failure("more than {} options in a group", kMaxNesting);
      }
      return {};
    }
    for (const std::string_view kind : {"=", "!", ">", "<=", "<!"}) {
      if (eat(kind)) {
        out_ += fmt::format("(?{}", kind);
        open_.push_back(group);
        return {};
      }
    }
    if (eat("<")) {
      const std::size_t close = in_.find('>', at_);
      if (close == in_.npos) return failure("a group's name is not closed");
      out_ += fmt::format("(?<{}>", in_.substr(at_, close - at_));
      at_ = close + 1;
      open_.push_back(group);
      return {};
    }
    return failure("the group \"(?{}\" is not supported", printable(in_.substr(at_, 1)));
  }

  // {n}, {n,}, {n,m}, {,m}; anything else is a literal brace.
  Status interval() {
    std::size_t i = at_ + 1;
    const auto digits = [&] {
      const std::size_t begin = i;
      while (i < in_.size() && in_[i] >= '0' && in_[i] <= '9') ++i;
      return in_.substr(begin, i - begin);
    };
    const std::string_view low = digits();
    std::optional<std::string_view> high;
    if (i < in_.size() && in_[i] == ',') {
      ++i;
      high = digits();
    }
    if (i >= in_.size() || in_[i] != '}' || (low.empty() && (!high || high->empty()))) {
      atom("\\{");
      ++at_;
      return {};
    }
    at_ = i + 1;
    std::string text = low.empty() ? "0" : std::string(low);
    if (high) text += fmt::format(",{}", *high);
    out_ += fmt::format("{{{}}}", text);
    const char next = at_ < in_.size() ? in_[at_] : '\0';
    if (next == '+' || (next == '?' && !high)) {  // not possessive, not reluctant: a quantifier of its own
      out_.insert(atom_, "(?:");
      out_ += ')';
    }
    return {};
  }

  Status escape() {
    if (at_ + 1 >= in_.size()) return failure("the pattern ends in a backslash");
    const char c = in_[at_ + 1];
    if (const auto shorthand = shorthand_of(c)) {
      at_ += 2;
      atom(fmt::format("[{}{}]", shorthand->second ? "^" : "", shorthand->first));
      return {};
    }
    if (c == 'b' || c == 'B') {
      at_ += 2;
      const std::string w = fmt::format("[{}]", with_additions(kWord));
      atom(c == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", w)
                    : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", w));
      return {};
    }
    if (c == 'p' || c == 'P') {
      OCTAVO_ASSIGN(const auto property, parse_property());
      atom(fmt::format("[{}{}]", property.second ? "^" : "", property.first));
      return {};
    }
    if (c == 'k' || c == 'g') {
      atom(in_.substr(at_, 2));
      at_ += 2;
      return {};
    }
    OCTAVO_ASSIGN(const std::string text, character());
    atom(text);
    return {};
  }

  // The items of \s \w \d \h and whether the letter negates them.
  static std::optional<std::pair<std::string, bool>> shorthand_of(char c) {
    switch (c) {
      case 's':
      case 'S': return std::pair(std::string(kSpace), c == 'S');
      case 'w':
      case 'W': return std::pair(with_additions(kWord), c == 'W');
      case 'd':
      case 'D': return std::pair(with_additions(R"(\p{Nd})"), c == 'D');
      case 'h':
      case 'H': return std::pair(std::string(kHex), c == 'H');
      default: return std::nullopt;
    }
  }

  // \p{name}, \p{^name}, \P{name}, \pL at at_: class items and negation.
  Result<std::pair<std::string, bool>> parse_property() {
    bool negated = in_[at_ + 1] == 'P';
    at_ += 2;
    if (at_ >= in_.size()) return failure("\\p without a name");
    if (in_[at_] != '{') {
      const std::string name(in_.substr(at_++, 1));
      return std::pair(items_of(name), negated);
    }
    const std::size_t end = in_.find('}', at_);
    if (end == in_.npos) return failure("\\p{{ is not closed");
    std::string_view name = in_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == ' ';
    });
    if (name.empty() || !plain) return failure("\\p{{{}}} is no property", printable(name));
    return std::pair(items_of(name), negated);
  }

  // An escape that is one character, at at_; as PCRE2 writes it. Others are copied for PCRE2 to judge.
  Result<std::string> character() {
    const char c = in_[at_ + 1];
    if (c == 'v') {
      at_ += 2;
      return std::string("\\x0B");
    }
    if (c == 'u' || c == 'x') {
      std::size_t begin = at_ + 2, longest = c == 'u' ? 4 : 2;
      const bool braces = c == 'x' && begin < in_.size() && in_[begin] == '{';
      if (braces) {
        ++begin;
        longest = 8;
      }
      std::size_t end = begin;
      std::uint32_t value = 0;
      while (end < in_.size() && end - begin < longest && std::isxdigit(static_cast<unsigned char>(in_[end])) != 0) {
        const char d = in_[end++];
        value = value * 16 + static_cast<std::uint32_t>(d <= '9' ? d - '0' : (d | 0x20) - 'a' + 10);
      }
      if (end == begin || (c == 'u' && end - begin != 4) || (braces && (end >= in_.size() || in_[end] != '}'))) {
        return failure("\\{} without hexadecimal digits", c);
      }
      if (c == 'x' && !braces && value > 0x7F) return failure("\\x{:02X} is a byte, not a character", value);
      at_ = end + (braces ? 1 : 0);
      return fmt::format("\\x{{{:X}}}", value);
    }
    const std::size_t length = 1 + std::min(utf8_length_of(c), in_.size() - at_ - 1);
    std::string text(in_.substr(at_, length));
    at_ += length;
    return text;
  }

  // The class behind "[", through its "]": an expression that matches one character.
  Result<std::string> set(int depth) {
    if (depth > kMaxNesting) return failure("classes are nested deeper than {}", kMaxNesting);
    const bool negated = eat("^");
    std::vector<Set> sets(1);  // their intersection
    bool first = true;
    for (;; first = false) {
      if (at_ >= in_.size()) return failure("a character class is not closed");
      Set& current = sets.back();
      const char c = in_[at_];
      if (c == ']' && !first) {
        ++at_;
        break;
      }
      if (c == ']') {
        current.items += "\\]";
        ++at_;
      } else if (in_.substr(at_).starts_with("[:") && in_.find(":]", at_) != in_.npos) {
        const std::size_t end = in_.find(":]", at_);
        std::string_view name = in_.substr(at_ + 2, end - at_ - 2);
        const bool inverse = name.starts_with('^');
        if (inverse) name.remove_prefix(1);
        const auto named = std::find_if(kNamed.begin(), kNamed.end(), [&](const Named& n) { return n.name == name; });
        if (named == kNamed.end()) return failure("[:{}:] is no character class", printable(name));
        current.add(with_additions(named->items), inverse);
        at_ = end + 2;
      } else if (c == '[') {
        ++at_;
        OCTAVO_ASSIGN(std::string nested, set(depth + 1));
        current.others.push_back(std::move(nested));
      } else if (eat("&&")) {
        sets.emplace_back();
      } else if (c == '\\') {
        if (at_ + 1 >= in_.size()) return failure("the pattern ends in a backslash");
        const char next = in_[at_ + 1];
        if (const auto shorthand = shorthand_of(next)) {
          current.add(shorthand->first, shorthand->second);
          at_ += 2;
        } else if (next == 'p' || next == 'P') {
          OCTAVO_ASSIGN(const auto property, parse_property());
          current.add(property.first, property.second);
        } else {
          OCTAVO_ASSIGN(const std::string text, character());
          current.items += text;
        }
      } else {
        const std::size_t length = std::min(utf8_length_of(c), in_.size() - at_);
        current.items += in_.substr(at_, length);
        at_ += length;
      }
    }
    if (sets.size() == 1) return sets[0].regex(negated);
    std::string all;
    for (std::size_t i = 0; i + 1 < sets.size(); ++i) all += fmt::format("(?={})", sets[i].regex(false));
    all += sets.back().regex(false);
    return negated ? fmt::format("(?:(?!{})(?s:.))", all) : fmt::format("(?:{})", all);
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
  std::size_t atom_ = 0;  // where in out_ the last atom begins
  std::vector<Group> open_;
};

}  // namespace

Result<std::string> translate_oniguruma(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace octavo::text
