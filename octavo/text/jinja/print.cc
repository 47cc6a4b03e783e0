// str() and repr() of values.
#include "octavo/text/jinja/print.h"

#include <charconv>
#include <cmath>

#include "octavo/text/jinja/unicode.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

class Printer {
 public:
  explicit Printer(Budget& budget) : budget_(budget) {}

  void put(const Value& value) {
    const Budget::Nested nested(budget_);
    budget_.charge(kWorkOfANode);
    switch (value.kind()) {
      case Kind::kString: return put_string(value);
      case Kind::kList: return put_items(value.items(), "[", "]");
      case Kind::kTuple: return put_items(value.items(), "(", value.items().size() == 1 ? ",)" : ")");
      case Kind::kDict: return put_dict(as_dict(value));
      case Kind::kView: {
        add(type_name(value));
        add("(");
        const auto& view = value.get<ViewObject>();
        std::vector<Value> items;
        for (std::size_t i = 0; i < as_dict(view.dict).entries().size(); ++i) items.push_back(view.at(i));
        put_items(items, "[", "]");
        return add(")");
      }
      case Kind::kInstance: return add(value.get<Instance>().repr(budget_));
      case Kind::kUndefined: return add("Undefined");
      default: return add(to_text(value));
    }
  }
  std::string take() && { return std::move(out_); }

 private:
  void add(std::string_view text) {
    budget_.charge(text.size());
    budget_.check_size(out_.size() + text.size());
    out_ += text;
  }
  void put_string(const Value& value) {
    const std::string quoted = repr_of_string(value.as_string());
    add(value.is_markup() ? fmt::format("Markup({})", quoted) : quoted);
  }
  void put_items(const std::vector<Value>& items, std::string_view open, std::string_view close) {
    add(open);
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) add(", ");
      put(items[i]);
    }
    add(close);
  }
  void put_dict(const DictObject& dict) {
    add("{");
    bool first = true;
    for (const auto& [key, value] : dict.entries()) {
      if (!first) add(", ");
      first = false;
      put(key);
      add(": ");
      put(value);
    }
    add("}");
  }

  Budget& budget_;
  std::string out_;
};

}  // namespace

std::string to_text(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone: return "None";
    case Kind::kBool: return value.as_bool() ? "True" : "False";
    case Kind::kInt: return std::to_string(value.as_integer());
    case Kind::kFloat: return repr_of_float(value.as_float());
    case Kind::kString:
    case Kind::kBigInt: return value.as_string();
    case Kind::kRange: {
      const auto& range = value.get<RangeObject>();
      if (range.step == 1) return fmt::format("range({}, {})", range.start, range.stop);
      return fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
    }
    case Kind::kIterator: return fmt::format("<{}>", value.get<Iterator>().label);
    default: return "";
  }
}

std::string to_text(const Value& value, Budget& budget) {
  switch (value.kind()) {
    case Kind::kString: budget.charge(value.as_string().size()); return value.as_string();
    case Kind::kUndefined: return "";
    default: return to_repr(value, budget);
  }
}

std::string to_repr(const Value& value, Budget& budget) {
  Printer printer(budget);
  printer.put(value);
  return std::move(printer).take();
}

std::string repr_of_string(std::string_view text, bool ascii) {
  const bool double_quotes = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    const std::string_view bytes = text.substr(0, c.length == 0 ? 1 : c.length);
    text.remove_prefix(bytes.size());
    const auto code = static_cast<std::uint32_t>(c.value);
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\') {
      out += '\\';
      out += bytes;
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (c.value >= 0x20 && c.value < 0x7F) {
      out += bytes;
    } else if (!ascii && is_printable(c.value)) {
      out += bytes;
    } else if (code < 0x100) {
      out += fmt::format("\\x{:02x}", code);
    } else if (code < 0x10000) {
      out += fmt::format("\\u{:04x}", code);
    } else {
      out += fmt::format("\\U{:08x}", code);
    }
  }
  out += quote;
  return out;
}

std::string repr_of_float(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  // The shortest digits that read back as d; Python writes them plainly for exponents from -4 to 15.
  constexpr int kSmallestPlain = -4, kLargestPlain = 15;
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  int exponent = 0;
  const bool minus = text[e + 1] == '-';
  std::from_chars(text.data() + e + 2, text.data() + text.size(), exponent);
  if (minus) exponent = -exponent;
  if (exponent < kSmallestPlain || exponent > kLargestPlain) {
    return fmt::format("{}e{}{:02}", text.substr(0, e), minus ? '-' : '+', std::abs(exponent));
  }
  char plain[64];
  const auto plain_end = std::to_chars(plain, plain + sizeof plain, d, std::chars_format::fixed).ptr;
  std::string out(plain, plain_end);
  if (out.find('.') == out.npos) out += ".0";
  return out;
}

}  // namespace octavo::text::jinja
