// Python's operators on template values; each raises where Python does.
#pragma once

#include "octavo/text/jinja/ast.h"
#include "octavo/text/jinja/value.h"

namespace octavo::text::jinja {

// + - * / // % ** of any two values.
Value calculate(Op op, const Value& a, const Value& b, Evaluator& evaluator);
Value add(const Value& a, const Value& b, Budget& budget);
Value negate(const Value& value, bool negative);  // - or +

// text % arguments, in printf_format.cc
std::string format_printf(std::string_view format, const Value& arguments, Evaluator& evaluator);

// value[start:stop:step]; null where not given.
Value slice(const Value& value, const Value* start, const Value* stop, const Value* step, Budget& budget);

// &, <, >, " and ' as HTML entities.
std::string escape_html(std::string_view text);

}  // namespace octavo::text::jinja
