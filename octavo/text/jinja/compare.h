// Python's ==, <, hash() and `in` for template values.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "octavo/text/jinja/ast.h"
#include "octavo/text/jinja/value.h"

namespace octavo::text::jinja {

bool equal(const Value& a, const Value& b);
// a < b, where Python orders the two; else raises. `symbol` stands in the message.
bool less(const Value& a, const Value& b, std::string_view symbol = "<");
std::size_t hash_of(const Value& value);  // raises for a list or a dict
bool contains(const Value& container, const Value& item, Budget& budget);

// a op b for the comparisons of Op, `in` and `not in`.
bool compare(Op op, const Value& a, const Value& b, Budget& budget);

// -1, 0, 1; 2 where one is NaN. Both are numbers.
int compare_numbers(const Value& a, const Value& b);

// sorted(): stable, also when reversed. `before` may raise.
void sort_stable(std::vector<std::size_t>& order, const std::function<bool(std::size_t, std::size_t)>& before);

}  // namespace octavo::text::jinja
