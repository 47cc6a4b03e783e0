// Python's two ways to format: "%5.2f" % x, and "{:>5.2f}".format(x).
#pragma once

#include <string>
#include <string_view>

#include "octavo/text/jinja/value.h"

namespace octavo::text::jinja {

// What both have in common: [[fill]align][sign][#][0][width][grouping][.precision][type].
struct FormatSpec {
  std::string fill = " ";  // one character
  char align = 0;          // < > ^ = or 0
  char sign = 0;           // + - or space; 0 where not given, which is like -
  bool alternate = false;  // #
  std::int64_t width = 0;
  char grouping = 0;            // , or _
  std::int64_t precision = -1;  // -1: not given
  char type = 0;
};

// `digits` with its sign, prefix, grouping and padding. `negative` is told apart from the digits.
std::string finish_number(std::string digits, bool negative, std::string_view prefix, const FormatSpec& spec,
                          Budget& budget);
std::string pad(std::string text, const FormatSpec& spec, char default_align, Budget& budget);

// Types e, E, f, F, g, G and %, without sign.
std::string float_digits(double magnitude, const FormatSpec& spec, Budget& budget);
// Types d, b, o, x, X, without sign and prefix.
std::string integer_digits(std::uint64_t magnitude, char type);

// format(value, spec)
std::string format_value(const Value& value, std::string_view spec, Budget& budget);
// format.format(*arguments)
std::string format_braces(std::string_view format, const Arguments& arguments, const Value* mapping,
                          Evaluator& evaluator);

}  // namespace octavo::text::jinja
