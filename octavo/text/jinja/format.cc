// Formatting numbers and text by a specification, and str.format (the format mini-language of Python's `string`).
#include "octavo/text/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

constexpr std::int64_t kWidest = 1 << 24;  // of a field; the budget stops smaller ones that come in numbers

std::int64_t take_number(std::string_view text, std::size_t& i) {
  std::int64_t value = -1;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    value = std::max<std::int64_t>(value, 0) * 10 + (text[i] - '0');
    if (value > kWidest) raise("Too many decimal digits in format string");
  }
  return value;
}

bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

FormatSpec parse_spec(std::string_view text, bool number) {
  FormatSpec spec;
  std::size_t i = 0;
  const CodePoint first = first_code_point(text);
  bool filled = false;
  if (first.length > 0 && first.length < text.size() && is_align(text[first.length])) {
    spec.fill = text.substr(0, first.length);
    spec.align = text[first.length];
    filled = true;
    i = first.length + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    i = 1;
  }
  const auto sees = [&](std::string_view set) { return i < text.size() && set.find(text[i]) != set.npos; };
  if (sees("+- ")) spec.sign = text[i++];
  if (sees("z")) raise("the format option 'z' is not supported");
  if (sees("#")) spec.alternate = true, ++i;
  if (!filled && sees("0")) {
    spec.fill = "0";
    if (spec.align == 0 && number) spec.align = '=';
    ++i;
  }
  spec.width = std::max<std::int64_t>(take_number(text, i), 0);
  if (sees(",_")) spec.grouping = text[i++];
  if (sees(".")) {
    ++i;
    spec.precision = take_number(text, i);
    if (spec.precision < 0) raise("Format specifier missing precision");
  }
  if (i < text.size()) spec.type = text[i++];
  if (i < text.size()) raise("Invalid format specifier '{}'", text);
  if (spec.type == 'n' && spec.grouping != 0) raise("Cannot specify '{}' with 'n'.", spec.grouping);
  return spec;
}

[[noreturn]] void raise_type(const FormatSpec& spec, const Value& value) {
  raise("Unknown format code '{}' for object of type '{}'", spec.type, type_name(value));
}

// Separators between groups of digits, from the right end of the whole part.
std::string group_digits(const std::string& digits, char separator, std::size_t group) {
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % group == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

// "%.{precision}e"; `alternate` keeps the point.
std::string scientific(double magnitude, int precision, bool alternate) {
  std::string out(static_cast<std::size_t>(precision) + 32, '\0');
  const auto end =
      std::to_chars(out.data(), out.data() + out.size(), magnitude, std::chars_format::scientific, precision).ptr;
  out.resize(static_cast<std::size_t>(end - out.data()));
  if (alternate && precision == 0) out.insert(out.find('e'), 1, '.');
  return out;
}

// "%.{precision}g": scientific where the exponent is below -4 or not below the precision; no zeros at the end, unless
// `alternate`.
std::string general(double magnitude, int precision, bool alternate) {
  const std::string by_exponent = scientific(magnitude, precision - 1, true);
  const std::size_t e = by_exponent.find('e');
  int exponent = 0;
  const bool minus = by_exponent[e + 1] == '-';
  std::from_chars(by_exponent.data() + e + 2, by_exponent.data() + by_exponent.size(), exponent);
  if (minus) exponent = -exponent;
  const bool plain = exponent >= -4 && exponent < precision;
  std::string mantissa = plain ? fixed(magnitude, precision - 1 - exponent) : by_exponent.substr(0, e);
  if (mantissa.find('.') == mantissa.npos) mantissa += '.';
  if (!alternate) {
    mantissa.resize(mantissa.find_last_not_of('0') + 1);
    if (mantissa.back() == '.') mantissa.pop_back();
  }
  return plain ? mantissa : mantissa + by_exponent.substr(e);
}

std::string format_string(const Value& value, FormatSpec spec, Budget& budget) {
  if (spec.type != 0 && spec.type != 's') raise_type(spec, value);
  if (spec.sign != 0) raise("Sign not allowed in string format specifier");
  if (spec.alternate) raise("Alternate form (#) not allowed in string format specifier");
  if (spec.grouping != 0) raise("Cannot specify '{}' with 's'.", spec.grouping);
  if (spec.align == '=') raise("'=' alignment not allowed in string format specifier");
  std::string text = value.as_string();
  if (spec.precision >= 0) text.resize(byte_of_char(text, static_cast<std::size_t>(spec.precision)));
  return pad(std::move(text), spec, '<', budget);
}

std::string format_float(double d, FormatSpec spec, Budget& budget) {
  const bool negative = std::signbit(d) && !std::isnan(d);
  const double magnitude = std::fabs(d);
  std::string digits;
  if (spec.type == 0) {
    if (spec.precision < 0) {
      digits = repr_of_float(magnitude);
    } else {
      // Like g, but with a digit behind the point where it looks like an integer.
      FormatSpec general = spec;
      general.type = 'g';
      if (general.precision == 0) general.precision = 1;
      digits = float_digits(magnitude, general, budget);
      if (digits.find_first_not_of("0123456789") == digits.npos) {
        if (static_cast<std::int64_t>(digits.size()) < general.precision) {
          digits += ".0";
        } else {
          general.type = 'e';
          --general.precision;
          std::string scientific = float_digits(magnitude, general, budget);
          const std::size_t e = scientific.find('e');
          std::string mantissa = scientific.substr(0, e);
          while (mantissa.find('.') != mantissa.npos && (mantissa.back() == '0' || mantissa.back() == '.')) {
            const bool point = mantissa.back() == '.';
            mantissa.pop_back();
            if (point) break;
          }
          digits = mantissa + scientific.substr(e);
        }
      }
    }
  } else {
    digits = float_digits(magnitude, spec, budget);
  }
  return finish_number(std::move(digits), negative, "", spec, budget);
}

std::string format_integer(const Value& value, FormatSpec spec, Budget& budget) {
  if (spec.precision >= 0) raise("Precision not allowed in integer format specifier");
  const std::int64_t i = value.as_integer();
  const std::uint64_t magnitude = i < 0 ? 0 - static_cast<std::uint64_t>(i) : static_cast<std::uint64_t>(i);
  switch (spec.type) {
    case 'c': {
      if (spec.sign != 0 || spec.alternate || spec.grouping != 0) {
        raise("Sign, '#' and grouping are not allowed with integer format specifier 'c'");
      }
      if (i < 0 || i > 0x10FFFF || (i >= 0xD800 && i <= 0xDFFF)) raise("%c arg not in range(0x110000)");
      std::string text;
      append_utf8(text, static_cast<char32_t>(i));
      return pad(std::move(text), spec, '>', budget);
    }
    case 0:
    case 'd':
    case 'n': return finish_number(integer_digits(magnitude, 'd'), i < 0, "", spec, budget);
    case 'b':
    case 'o':
    case 'x':
    case 'X': {
      if (spec.grouping == ',') raise("Cannot specify ',' with '{}'.", spec.type);
      const char prefix[] = {'0', spec.type, 0};
      return finish_number(integer_digits(magnitude, spec.type), i < 0, spec.alternate ? prefix : "", spec, budget);
    }
    default: raise_type(spec, value);
  }
}

// The argument that a replacement field names: its first part, then .attributes and [items].
class Fields {
 public:
  Fields(const Arguments& arguments, const Value* mapping, Evaluator& evaluator)
      : arguments_(arguments), mapping_(mapping), evaluator_(evaluator) {}

  Value get(std::string_view name) {
    std::size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first(name.substr(0, end));
    while (end < name.size()) {
      if (name[end] == '.') {
        const std::size_t next = std::min(name.find_first_of(".[", end + 1), name.size());
        if (next == end + 1) raise("Empty attribute in format string");
        value = evaluator_.attribute(value, Value::string(std::string(name.substr(end + 1, next - end - 1))));
        end = next;
      } else if (name[end] == '[') {
        const std::size_t close = name.find(']', end);
        if (close == name.npos) raise("Missing ']' in format string");
        const std::string_view key = name.substr(end + 1, close - end - 1);
        if (key.empty()) raise("Empty attribute in format string");
        const bool index = key.find_first_not_of("0123456789") == key.npos;
        value = evaluator_.item(
            value, index ? parse_integer(key, 10).value_or(Value::none()) : Value::string(std::string(key)));
        end = close + 1;
      } else {
        raise("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

 private:
  Value first(std::string_view name) {
    if (name.empty() || name.find_first_not_of("0123456789") == name.npos) {
      const bool automatic = name.empty();
      if (numbering_ != Numbering::kNone && automatic != (numbering_ == Numbering::kAutomatic)) {
        raise("cannot switch between manual field specification and automatic field numbering");
      }
      numbering_ = automatic ? Numbering::kAutomatic : Numbering::kManual;
      const std::int64_t index = automatic ? next_++ : parse_integer(name, 10)->as_integer();
      if (index >= static_cast<std::int64_t>(arguments_.positional.size())) {
        raise("Replacement index {} out of range for positional args tuple", index);
      }
      return arguments_.positional[static_cast<std::size_t>(index)];
    }
    if (mapping_ != nullptr) {
      const Value found = evaluator_.item(*mapping_, Value::string(std::string(name)));
      if (found.is_undefined()) raise("{}", repr_of_string(name));
      return found;
    }
    for (const auto& [given, value] : arguments_.named) {
      if (given == name) return value;
    }
    raise("str.format() has no argument {}", repr_of_string(name));
  }

  enum class Numbering { kNone, kAutomatic, kManual } numbering_ = Numbering::kNone;
  const Arguments& arguments_;
  const Value* mapping_;
  Evaluator& evaluator_;
  std::int64_t next_ = 0;
};

std::string expand(std::string_view format, Fields& fields, Evaluator& evaluator, int depth) {
  if (depth > 2) raise("Max string recursion exceeded");
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    evaluator.budget().charge(1);
    const char c = format[i];
    if (c == '}') {
      if (i + 1 >= format.size() || format[i + 1] != '}') raise("Single '}}' encountered in format string");
      out += c, ++i;
      continue;
    }
    if (c != '{') {
      out += c;
      continue;
    }
    if (i + 1 == format.size()) raise("Single '{{' encountered in format string");
    if (format[i + 1] == '{') {
      out += c, ++i;
      continue;
    }
    // The field ends at its own brace; those within belong to its specification, but for an index in brackets.
    std::size_t end = i + 1;
    int open = 1;
    bool bracket = false;
    for (; end < format.size(); ++end) {
      if (format[end] == '[') bracket = true;
      if (format[end] == ']') bracket = false;
      if (bracket) continue;
      if (format[end] == '{') ++open;
      if (format[end] == '}' && --open == 0) break;
    }
    if (end >= format.size()) raise("expected '}}' before end of string");
    const std::string_view field = format.substr(i + 1, end - i - 1);
    i = end;
    std::size_t name_end = 0;
    for (bool inside = false; name_end < field.size(); ++name_end) {
      if (field[name_end] == '[') inside = true;
      if (field[name_end] == ']') inside = false;
      if (!inside && (field[name_end] == ':' || field[name_end] == '!')) break;
    }
    Value value = fields.get(field.substr(0, name_end));
    std::string_view rest = field.substr(name_end);
    if (rest.starts_with('!')) {
      if (rest.size() < 2) raise("end of string while looking for conversion specifier");
      if (rest.size() > 2 && rest[2] != ':') raise("expected ':' after conversion specifier");
      switch (rest[1]) {
        case 's': value = Value::string(to_text(value, evaluator.budget())); break;
        case 'r': value = Value::string(to_repr(value, evaluator.budget())); break;
        case 'a': raise("the conversion !a is not supported");
        default: raise("Unknown conversion specifier '{}'", rest[1]);
      }
      rest.remove_prefix(2);
    }
    const std::string spec = rest.empty() ? "" : expand(rest.substr(1), fields, evaluator, depth + 1);
    out += format_value(value, spec, evaluator.budget());
    evaluator.budget().check_size(out.size());
  }
  return out;
}

}  // namespace

std::string pad(std::string text, const FormatSpec& spec, char default_align, Budget& budget) {
  const auto length = static_cast<std::int64_t>(count_chars(text));
  if (spec.width <= length) return text;
  const auto missing = static_cast<std::size_t>(spec.width - length);
  budget.charge_allocation(missing * spec.fill.size() + text.size());
  const char align = spec.align == 0 ? default_align : spec.align;
  const std::size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string out;
  for (std::size_t i = 0; i < left; ++i) out += spec.fill;
  out += text;
  for (std::size_t i = left; i < missing; ++i) out += spec.fill;
  return out;
}

std::string finish_number(std::string digits, bool negative, std::string_view prefix, const FormatSpec& spec,
                          Budget& budget) {
  const bool binary = spec.type == 'b' || spec.type == 'o' || spec.type == 'x' || spec.type == 'X';
  const std::size_t group = binary ? 4 : 3;
  std::string head = negative ? "-" : spec.sign == '-' || spec.sign == 0 ? "" : std::string(1, spec.sign);
  head += prefix;
  if (spec.align == '=') {
    const auto room =
        static_cast<std::size_t>(std::max<std::int64_t>(spec.width - static_cast<std::int64_t>(head.size()), 0));
    budget.charge_allocation(room * spec.fill.size());
    if (spec.grouping != 0 && spec.fill == "0") {
      // Zeros are grouped too: as many as fit, and one more where a separator would come first.
      while (group_digits(digits, spec.grouping, group).size() < room && !digits.empty() &&
             std::isxdigit(static_cast<unsigned char>(digits[0]))) {
        budget.charge(digits.size());
        digits.insert(0, 1, '0');
      }
      return head + group_digits(digits, spec.grouping, group);
    }
    if (spec.grouping != 0) digits = group_digits(digits, spec.grouping, group);
    std::string fill;
    for (std::size_t i = digits.size(); i < room; ++i) fill += spec.fill;
    return head + fill + digits;
  }
  if (spec.grouping != 0) digits = group_digits(digits, spec.grouping, group);
  return pad(head + digits, spec, '>', budget);
}

std::string float_digits(double magnitude, const FormatSpec& spec, Budget& budget) {
  const char type = spec.type;
  const bool upper_case = type == 'E' || type == 'F' || type == 'G';
  if (!std::isfinite(magnitude)) {
    std::string word = std::isnan(magnitude) ? "nan" : "inf";
    if (upper_case) word = upper(word);
    return type == '%' ? word + "%" : word;
  }
  constexpr int kDefaultPrecision = 6;
  const auto precision = static_cast<int>(spec.precision < 0 ? kDefaultPrecision : spec.precision);
  budget.charge_allocation(static_cast<std::uint64_t>(precision) + 400);
  std::string digits;
  switch (type) {
    case 'e':
    case 'E': digits = scientific(magnitude, precision, spec.alternate); break;
    case 'f':
    case 'F': digits = fixed(magnitude, precision) + (spec.alternate && precision == 0 ? "." : ""); break;
    case 'n':
    case 'g':
    case 'G': digits = general(magnitude, std::max(precision, 1), spec.alternate); break;
    case '%': digits = fixed(magnitude * 100, precision) + (spec.alternate && precision == 0 ? ".%" : "%"); break;
    default: raise("Unknown format code '{}' for object of type 'float'", type);
  }
  return upper_case ? upper(digits) : digits;
}

std::string integer_digits(std::uint64_t magnitude, char type) {
  switch (type) {
    case 'b': return fmt::format("{:b}", magnitude);
    case 'o': return fmt::format("{:o}", magnitude);
    case 'x': return fmt::format("{:x}", magnitude);
    case 'X': return fmt::format("{:X}", magnitude);
    default: return fmt::format("{}", magnitude);
  }
}

std::string format_value(const Value& value, std::string_view text, Budget& budget) {
  if (text.empty()) return to_text(value, budget);
  const FormatSpec spec = parse_spec(text, !value.is_string());
  if (value.is_string()) return format_string(value, spec, budget);
  const bool float_type = std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos && spec.type != 0;
  if (value.is_float()) {
    if (spec.type != 0 && !float_type && spec.type != 'n') raise_type(spec, value);
    return format_float(value.as_float(), spec, budget);
  }
  if (value.is_integral()) {
    if (float_type) return format_float(static_cast<double>(value.as_integer()), spec, budget);
    return format_integer(value, spec, budget);
  }
  raise("unsupported format string passed to {}.__format__", type_name(value));
}

std::string format_braces(std::string_view format, const Arguments& arguments, const Value* mapping,
                          Evaluator& evaluator) {
  Fields fields(arguments, mapping, evaluator);
  return expand(format, fields, evaluator, 0);
}

}  // namespace octavo::text::jinja
