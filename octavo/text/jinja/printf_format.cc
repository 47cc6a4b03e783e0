// text % arguments.
#include <algorithm>
#include <cmath>

#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/format.h"
#include "octavo/text/jinja/operators.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

class Printf {
 public:
  Printf(std::string_view format, const Value& arguments, Evaluator& evaluator)
      : format_(format), arguments_(arguments), budget_(evaluator.budget()) {}

  std::string run() {
    for (at_ = 0; at_ < format_.size(); ++at_) {
      budget_.charge(1);
      if (format_[at_] != '%') {
        out_ += format_[at_];
        continue;
      }
      ++at_;
      conversion();
      budget_.check_size(out_.size());
    }
    // What can be subscripted might have been used by name.
    const bool by_name = arguments_.is(Kind::kDict) || arguments_.is(Kind::kList) || arguments_.is(Kind::kRange) ||
                         arguments_.is_undefined();
    const std::size_t given = arguments_.is(Kind::kTuple) ? arguments_.items().size() : 1;
    if (!by_name && used_ < given) raise("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  char peek() const {
    if (at_ >= format_.size()) raise("incomplete format");
    return format_[at_];
  }

  const Value& next() {
    if (!arguments_.is(Kind::kTuple)) {
      if (used_++ == 0) return arguments_;
    } else if (used_ < arguments_.items().size()) {
      return arguments_.items()[used_++];
    }
    raise("not enough arguments for format string");
  }

  std::int64_t number() {
    constexpr std::int64_t kWidest = 1 << 24;
    if (peek() == '*') {
      ++at_;
      const Value& width = next();
      if (!width.is_integral()) raise("* wants int");
      if (std::abs(width.as_integer()) > kWidest) raise("width too big");
      return width.as_integer();
    }
    std::int64_t value = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + (peek() - '0');
      if (value > kWidest) raise("width too big");
    }
    return value;
  }

  void conversion() {
    if (peek() == '%') {  // only right behind the first
      out_ += '%';
      return;
    }
    Value named;
    if (peek() == '(') {
      // Parentheses within the name must balance.
      const std::size_t start = ++at_;
      for (int open = 1; open > 0; ++at_) {
        if (at_ >= format_.size()) raise("incomplete format key");
        if (format_[at_] == '(') ++open;
        if (format_[at_] == ')') --open;
      }
      if (!arguments_.is(Kind::kDict)) raise("format requires a mapping");
      const std::string key(format_.substr(start, at_ - 1 - start));
      const Value* found = as_dict(arguments_).find(std::string_view(key));
      if (found == nullptr) raise("{}", repr_of_string(key));
      named = *found;
    }
    FormatSpec spec;
    bool left = false, zero = false;
    for (bool flag = true; flag;) {
      switch (peek()) {
        case '-': left = true; break;
        case '+': spec.sign = '+'; break;
        case ' ': spec.sign = spec.sign == '+' ? '+' : ' '; break;
        case '#': spec.alternate = true; break;
        case '0': zero = true; break;
        default: flag = false;
      }
      if (flag) ++at_;
    }
    spec.width = number();
    if (spec.width < 0) {
      left = true;
      spec.width = -spec.width;
    }
    if (peek() == '.') {
      ++at_;
      spec.precision = std::max<std::int64_t>(number(), 0);
    }
    while (peek() == 'h' || peek() == 'l' || peek() == 'L') ++at_;
    spec.type = peek();
    spec.align = left ? '<' : '>';
    static constexpr std::string_view kTypes = "diuoxXeEfFgGcrsa";
    if (kTypes.find(spec.type) == kTypes.npos) {
      raise("unsupported format character {}", repr_of_string(format_.substr(at_, utf8_length_of(format_[at_]))));
    }
    const Value value = named.is_missing() ? next() : named;
    const bool numeric = kTypes.find(spec.type) < kTypes.find('c');
    if (zero && !left && numeric) {
      spec.fill = "0";
      spec.align = '=';
    }
    out_ += numeric ? number_text(value, spec) : text(value, spec);
  }

  std::string text(const Value& value, const FormatSpec& spec) {
    std::string shown;
    switch (spec.type) {
      case 's': shown = to_text(value, budget_); break;
      case 'r': shown = to_repr(value, budget_); break;
      case 'a':
        // repr() with escapes; only a string can hold what must be escaped here.
        shown = value.is_string() ? repr_of_string(value.as_string(), /*ascii=*/true) : to_repr(value, budget_);
        break;
      default:
        if (value.is_string() && count_chars(value.as_string()) == 1) {
          shown = value.as_string();
        } else if (value.is_integral()) {
          const std::int64_t code = value.as_integer();
          if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) raise("%c arg not in range(0x110000)");
          append_utf8(shown, static_cast<char32_t>(code));
        } else {
          raise("%c requires int or char");
        }
    }
    if (spec.precision >= 0 && spec.type != 'c') {
      shown.resize(byte_of_char(shown, static_cast<std::size_t>(spec.precision)));
    }
    return pad(std::move(shown), spec, '>', budget_);
  }

  std::string number_text(const Value& value, FormatSpec spec) {
    if (!value.is_number()) {
      if (value.is_undefined() && spec.type != 'x' && spec.type != 'X' && spec.type != 'o') raise_undefined(value);
      raise("%{} format: a real number is required, not {}", spec.type, type_name(value));
    }
    if (value.is(Kind::kBigInt)) raise("integers beyond 64 bits cannot be calculated with");
    static constexpr std::string_view kFloats = "eEfFgG";
    if (kFloats.find(spec.type) != kFloats.npos) {
      const double d = value.is_float() ? value.as_float() : static_cast<double>(value.as_integer());
      return finish_number(float_digits(std::fabs(d), spec, budget_), std::signbit(d) && !std::isnan(d), "", spec,
                           budget_);
    }
    const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
    std::int64_t i = 0;
    if (value.is_float()) {
      if (!decimal) raise("%{} format: an integer is required, not float", spec.type);
      const double d = value.as_float();
      if (!(d > -0x1p63 && d < 0x1p63)) raise("cannot convert the float {} to an integer", repr_of_float(d));
      i = static_cast<std::int64_t>(d);
    } else {
      i = value.as_integer();
    }
    const std::uint64_t magnitude = i < 0 ? 0 - static_cast<std::uint64_t>(i) : static_cast<std::uint64_t>(i);
    std::string digits = integer_digits(magnitude, decimal ? 'd' : spec.type);
    if (spec.precision > static_cast<std::int64_t>(digits.size())) {
      budget_.charge_allocation(static_cast<std::uint64_t>(spec.precision));
      digits.insert(0, static_cast<std::size_t>(spec.precision) - digits.size(), '0');
    }
    const char prefix[] = {'0', spec.type, 0};
    return finish_number(std::move(digits), i < 0, spec.alternate && !decimal ? prefix : "", spec, budget_);
  }

  std::string_view format_;
  const Value& arguments_;
  Budget& budget_;
  std::size_t at_ = 0;
  std::size_t used_ = 0;
  std::string out_;
};

}  // namespace

std::string format_printf(std::string_view format, const Value& arguments, Evaluator& evaluator) {
  return Printf(format, arguments, evaluator).run();
}

}  // namespace octavo::text::jinja
