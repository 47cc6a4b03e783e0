// The tables of filters, by what they work on. find_filter() looks through them.
#pragma once

#include <span>
#include <string_view>

#include "octavo/text/jinja/ast.h"
#include "octavo/text/jinja/value.h"

namespace octavo::text::jinja {

struct Filter {
  std::string_view name;
  FilterFunction function;
};
std::span<const Filter> text_filters();      // filters_text.cc
std::span<const Filter> sequence_filters();  // filters_sequence.cc
std::span<const Filter> lazy_filters();      // filters_lazy.cc: those that give generators
std::span<const Filter> value_filters();     // filters_value.cc

// jinja2's make_attrgetter: item["a"][0]["b"] for "a.0.b". The path "" (a None in jinja2) is the item itself.
class AttributePath {
 public:
  // `attribute` is a string, an integer, or None or missing for the item itself.
  AttributePath(Evaluator& evaluator, const Value& attribute, Value otherwise = Value());
  Value get(const Value& item) const;

 private:
  Evaluator* evaluator_;
  std::vector<Value> parts_;
  Value otherwise_;  // for what is undefined on the way; missing or None: nothing
};

// Strings in lower case, all else as it is.
Value ignore_case(const Value& value);

}  // namespace octavo::text::jinja
