// str(), repr() and json.dumps() of template values, and numbers as Python prints and reads them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "octavo/base/json.h"
#include "octavo/text/jinja/value.h"

namespace octavo::text::jinja {

std::string to_text(const Value& value);                  // str(); for scalars
std::string to_text(const Value& value, Budget& budget);  // str()
std::string to_repr(const Value& value, Budget& budget);  // repr()
std::string repr_of_string(std::string_view text, bool ascii = false);
std::string repr_of_float(double d);

struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);  // json.dumps

// A JSON document as a value; raises for text that is not UTF-8 or for nesting beyond kMaxNesting.
Value from_json(const Json& json);

// int(text, base) and float(text); nothing where Python raises ValueError.
std::optional<Value> parse_integer(std::string_view text, int base);
std::optional<double> parse_float(std::string_view text);

// round(value, digits) for a float: to the nearest, ties to even, by the exact binary value.
double round_float(double value, std::int64_t digits);
std::string fixed(double value, int digits);  // "%.{digits}f"

}  // namespace octavo::text::jinja
