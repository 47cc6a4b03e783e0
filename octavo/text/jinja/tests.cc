// The tests behind `is`, and behind select, reject and their kin.
#include <algorithm>
#include <cmath>
#include <vector>

#include "octavo/base/text.h"
#include "octavo/text/jinja/builtins.h"
#include "octavo/text/jinja/compare.h"
#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/methods.h"
#include "octavo/text/jinja/operators.h"
#include "octavo/text/jinja/parameters.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"

namespace octavo::text::jinja {
namespace {

using Is = bool(const Value&);

template <Is* kIs>
bool plain(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters none("the test", arguments, {});
  return kIs(value);
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_boolean(const Value& v) { return v.is_bool(); }
bool is_true(const Value& v) { return v.is_bool() && v.as_bool(); }
bool is_false(const Value& v) { return v.is_bool() && !v.as_bool(); }
bool is_integer(const Value& v) { return v.is(Kind::kInt) || v.is(Kind::kBigInt); }
bool is_float(const Value& v) { return v.is_float(); }
bool is_number(const Value& v) { return v.is_number(); }
bool is_string(const Value& v) { return v.is_string(); }
bool is_escaped(const Value& v) { return v.is_string() && v.is_markup(); }
bool is_mapping(const Value& v) { return v.is(Kind::kDict); }
// What has a length and can be subscripted; Undefined has methods for both.
bool is_sequence(const Value& v) { return length_of(v) >= 0 && !v.is(Kind::kView); }
bool is_callable(const Value& v) { return v.is_undefined() || (v.is(Kind::kInstance) && v.get<Instance>().callable()); }
bool is_iterable(const Value& v) {
  if (v.is(Kind::kInstance)) return v.get<Instance>().type_name() == "jinja2.runtime.LoopContext";
  return length_of(v) >= 0 || v.is(Kind::kIterator);
}

bool has_case(Evaluator& evaluator, const Value& value, const Arguments& arguments, std::string_view method) {
  const Parameters none(method, arguments, {});
  const Value text = Value::string(to_text(value, evaluator.budget()));
  return truthy(find_string_method(method)(evaluator, text, {}));
}
bool is_lower_case(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  return has_case(evaluator, value, arguments, "islower");
}
bool is_upper_case(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  return has_case(evaluator, value, arguments, "isupper");
}

bool remainder_is(Evaluator& evaluator, const Value& value, const Value& divisor, std::int64_t rest) {
  return equal(calculate(Op::kModulo, value, divisor, evaluator), Value::integer(rest));
}
bool is_odd(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("odd", arguments, {});
  return remainder_is(evaluator, value, Value::integer(2), 1);
}
bool is_even(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("even", arguments, {});
  return remainder_is(evaluator, value, Value::integer(2), 0);
}
bool is_divisible_by(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("divisibleby", arguments, {"num"}, 1);
  return remainder_is(evaluator, value, given.at(0), 0);
}

bool is_same_as(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters given("sameas", arguments, {"other"}, 1);
  return value.identical(given.at(0));
}
bool is_in(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("in", arguments, {"seq"}, 1);
  return contains(given.at(0), value, evaluator.budget());
}
bool is_filter(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters none("filter", arguments, {});
  (void)hash_of(value);  // jinja2 looks it up in a dict
  return value.is_string() && find_filter(value.as_string()) != nullptr;
}
bool is_test(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters none("test", arguments, {});
  (void)hash_of(value);  // jinja2 looks it up in a dict
  return value.is_string() && find_test(value.as_string()) != nullptr;
}

template <Op kOp>
bool compares(Evaluator& evaluator, const Value& a, const Arguments& arguments) {
  const Parameters given("the test", arguments, {""}, 1);
  const Value& b = given.at(0);
  return compare(kOp, a, b, evaluator.budget());
}

struct Test {
  std::string_view name;
  TestFunction function;
};
constexpr Test kTests[] = {
    {"!=", compares<Op::kNotEqual>},
    {"<", compares<Op::kLess>},
    {"<=", compares<Op::kLessEqual>},
    {"==", compares<Op::kEqual>},
    {">", compares<Op::kGreater>},
    {">=", compares<Op::kGreaterEqual>},
    {"boolean", plain<is_boolean>},
    {"callable", plain<is_callable>},
    {"defined", plain<is_defined>},
    {"divisibleby", is_divisible_by},
    {"eq", compares<Op::kEqual>},
    {"equalto", compares<Op::kEqual>},
    {"escaped", plain<is_escaped>},
    {"even", is_even},
    {"false", plain<is_false>},
    {"filter", is_filter},
    {"float", plain<is_float>},
    {"ge", compares<Op::kGreaterEqual>},
    {"greaterthan", compares<Op::kGreater>},
    {"gt", compares<Op::kGreater>},
    {"in", is_in},
    {"integer", plain<is_integer>},
    {"iterable", plain<is_iterable>},
    {"le", compares<Op::kLessEqual>},
    {"lessthan", compares<Op::kLess>},
    {"lower", is_lower_case},
    {"lt", compares<Op::kLess>},
    {"mapping", plain<is_mapping>},
    {"ne", compares<Op::kNotEqual>},
    {"none", plain<is_none>},
    {"number", plain<is_number>},
    {"odd", is_odd},
    {"sameas", is_same_as},
    {"sequence", plain<is_sequence>},
    {"string", plain<is_string>},
    {"test", is_test},
    {"true", plain<is_true>},
    {"undefined", plain<is_undefined>},
    {"upper", is_upper_case},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  const auto at = std::lower_bound(std::begin(kTests), std::end(kTests), name,
                                   [](const Test& test, std::string_view wanted) { return test.name < wanted; });
  return at != std::end(kTests) && at->name == name ? at->function : nullptr;
}

std::string unknown_test(std::string_view name) {
  std::vector<std::string> names;
  for (const Test& test : kTests) names.emplace_back(test.name);
  return fmt::format("No test named '{}'{}.", name, did_you_mean(name, names));
}

}  // namespace octavo::text::jinja
