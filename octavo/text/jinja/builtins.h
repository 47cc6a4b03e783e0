// The names that every template knows: filters, tests, global functions, and the methods of strings and containers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "octavo/text/jinja/ast.h"

namespace octavo::text::jinja {

FilterFunction find_filter(std::string_view name);  // null where there is none
TestFunction find_test(std::string_view name);
std::string unknown_filter(std::string_view name);  // the sentence
std::string unknown_test(std::string_view name);

// range, dict, namespace, raise_exception ...; nothing where there is none.
std::optional<Value> find_global(std::string_view name);

// object.name for a value of Python's own types: a bound method or a number's part; missing where there is none. What
// the sandbox forbids (list.append) is an undefined value that raises when it is used.
Value builtin_attribute(const Value& object, std::string_view name);

// A function of a table as a value.
using MethodFunction = Value (*)(Evaluator&, const Value& self, const Arguments&);
Value make_method(std::string_view name, const Value& self, MethodFunction function);

}  // namespace octavo::text::jinja
