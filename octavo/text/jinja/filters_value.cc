// Filters of single values: numbers, defaults, JSON, attributes. And the look-up of all filters.
#include <algorithm>
#include <cmath>

#include "octavo/base/text.h"
#include "octavo/text/jinja/builtins.h"
#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/filters.h"
#include "octavo/text/jinja/operators.h"
#include "octavo/text/jinja/parameters.h"
#include "octavo/text/jinja/print.h"

namespace octavo::text::jinja {
namespace {

Value absolute(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters none("abs", arguments, {});
  if (value.is_undefined()) raise_undefined(value);
  if (value.is_float()) return Value::real(std::fabs(value.as_float()));
  if (!value.is_integral()) raise("bad operand type for abs(): '{}'", type_name(value));
  return negate(value, value.as_integer() < 0);
}

Value attribute(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("attr", arguments, {"name"}, 1);
  if (value.is_undefined()) raise_undefined(value);
  (void)given.text(0);
  // Attributes only: never an item of a dict.
  Value found = value.is(Kind::kInstance) ? value.get<Instance>().attribute(value, given.text(0))
                                          : builtin_attribute(value, given.text(0));
  (void)evaluator;
  return found.is_missing() ? undefined_member(value, given.at(0)) : found;
}

Value otherwise(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters given("default", arguments, {"default_value", "boolean"});
  const bool absent = value.is_undefined() || (given.flag(1, false) && !truthy(value));
  return absent ? given.value(0, Value::string("")) : value;
}

Value to_float(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters given("float", arguments, {"default"});
  if (value.is_undefined()) raise_undefined(value);
  const Value fallback = given.value(0, Value::real(0));
  if (value.is_float()) return value;
  if (value.is_integral()) return Value::real(static_cast<double>(value.as_integer()));
  if (value.is(Kind::kBigInt)) return Value::real(*parse_float(value.as_string()));
  if (!value.is_string()) return fallback;
  const auto parsed = parse_float(value.as_string());
  return parsed ? Value::real(*parsed) : fallback;
}

Value truncated(double d) {
  if (!(d >= -0x1p63 && d < 0x1p63)) raise("the integer part of {} does not fit in 64 bits", repr_of_float(d));
  return Value::integer(static_cast<std::int64_t>(d));
}

Value to_integer(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters given("int", arguments, {"default", "base"});
  if (value.is_undefined()) raise_undefined(value);
  const Value fallback = given.value(0, Value::integer(0));
  if (value.is(Kind::kBigInt)) return value;
  if (value.is_integral()) return Value::integer(value.as_integer());
  if (value.is_float()) {
    if (std::isnan(value.as_float())) return fallback;
    if (std::isinf(value.as_float())) raise("cannot convert float infinity to integer");
    return truncated(value.as_float());
  }
  if (!value.is_string()) return fallback;
  const std::int64_t base = given.integer(1, 10);
  if (base == 0 || (base >= 2 && base <= 36)) {
    if (const auto whole = parse_integer(value.as_string(), static_cast<int>(base))) return *whole;
  }
  // "42.23" is 42.
  const auto parsed = parse_float(value.as_string());
  if (!parsed || !std::isfinite(*parsed)) return fallback;
  return truncated(*parsed);
}

// round(i, -n): to tens, hundreds ..., ties to even.
Value round_integer(std::int64_t i, std::int64_t digits) {
  if (digits >= 0) return Value::integer(i);
  if (digits < -18) return Value::integer(0);
  std::int64_t unit = 1;
  for (; digits < 0; ++digits) unit *= 10;
  std::int64_t rest = i % unit;
  if (rest < 0) rest += unit;
  std::int64_t down = 0;
  if (__builtin_sub_overflow(i, rest, &down)) raise("the rounded number does not fit in 64 bits");
  const bool up = rest > unit - rest || (rest == unit - rest && (down / unit) % 2 != 0);
  if (up && __builtin_add_overflow(down, unit, &down)) raise("the rounded number does not fit in 64 bits");
  return Value::integer(down);
}

Value round(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("round", arguments, {"precision", "method"});
  const std::string method = given.has(1) ? given.text(1) : "common";
  if (method != "common" && method != "ceil" && method != "floor") raise("method must be common, ceil or floor");
  if (method == "common") {
    if (!value.is_float() && !value.is_integral()) raise("type {} doesn't define __round__ method", type_name(value));
    if (given.has(0) && given.at(0).is_none()) {
      const double d = value.is_float() ? value.as_float() : 0;
      return value.is_float() ? truncated(round_float(d, 0)) : Value::integer(value.as_integer());
    }
    const std::int64_t digits = given.integer(0, 0);
    if (value.is_float()) return Value::real(round_float(value.as_float(), digits));
    return round_integer(value.as_integer(), digits);
  }
  // As jinja2 writes it: func(value * 10 ** precision) / 10 ** precision.
  const Value scale = calculate(Op::kPower, Value::integer(10), given.value(0, Value::integer(0)), evaluator);
  const Value scaled = calculate(Op::kMultiply, value, scale, evaluator);
  Value whole = scaled;
  if (scaled.is_float()) {
    if (!std::isfinite(scaled.as_float()))
      raise("cannot convert float {} to integer", repr_of_float(scaled.as_float()));
    // A float keeps integers beyond 64 bits, which Python's would be.
    whole = Value::real(method == "ceil" ? std::ceil(scaled.as_float()) : std::floor(scaled.as_float()));
    if (whole.as_float() == 0) whole = Value::integer(0);
  } else if (!scaled.is_integral()) {
    raise("must be real number, not {}", type_name(scaled));
  }
  return calculate(Op::kDivide, whole, scale, evaluator);
}

Value file_size(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters given("filesizeformat", arguments, {"binary"});
  if (value.is_undefined()) raise_undefined(value);
  double bytes = 0;
  if (value.is_float()) {
    bytes = value.as_float();
  } else if (value.is_integral()) {
    bytes = static_cast<double>(value.as_integer());
  } else {
    const auto parsed = value.is_string() ? parse_float(value.as_string()) : std::nullopt;
    if (!parsed) raise("could not convert {} to float", type_name(value));
    bytes = *parsed;
  }
  const bool binary = given.flag(0, false);
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return Value::string("1 Byte");
  if (bytes < base) return Value::string(fmt::format("{} Bytes", truncated(bytes).as_integer()));
  double unit = base;
  constexpr char kPrefixes[] = {'k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'};
  for (std::size_t i = 0;; ++i) {
    unit *= base;
    if (bytes >= unit && i + 1 < std::size(kPrefixes)) continue;
    const char prefix = binary && i == 0 ? 'K' : kPrefixes[i];
    return Value::string(fmt::format("{} {}{}", fixed(base * bytes / unit, 1), prefix, binary ? "iB" : "B"));
  }
}

// transformers' tojson: json.dumps without the escapes for HTML.
Value json(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = given.flag(0, false);
  style.sort_keys = given.flag(3, false);
  if (given.has_some(1)) {
    if (given.at(1).is_string()) {
      style.indent = given.text(1);
    } else {
      const std::int64_t width = std::max<std::int64_t>(given.integer(1, 0), 0);
      evaluator.budget().charge_allocation(static_cast<std::uint64_t>(width));
      style.indent = std::string(static_cast<std::size_t>(width), ' ');
    }
    style.item_separator = ",";
  }
  if (given.has_some(2)) {
    const std::vector<Value> separators = collect(given.at(2), evaluator.budget());
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      raise("tojson: separators must be two strings");
    }
    style.item_separator = separators[0].as_string();
    style.key_separator = separators[1].as_string();
  }
  return Value::string(to_json(value, style, evaluator.budget()));
}

constexpr Filter kFilters[] = {
    {"abs", absolute},   {"attr", attribute}, {"d", otherwise}, {"default", otherwise}, {"filesizeformat", file_size},
    {"float", to_float}, {"int", to_integer}, {"round", round}, {"tojson", json},
};

}  // namespace

std::span<const Filter> value_filters() { return kFilters; }

FilterFunction find_filter(std::string_view name) {
  for (const auto& table : {text_filters(), sequence_filters(), lazy_filters(), value_filters()}) {
    for (const Filter& filter : table) {
      if (filter.name == name) return filter.function;
    }
  }
  return nullptr;
}

std::string unknown_filter(std::string_view name) {
  for (const std::string_view known : {"pprint", "random", "urlize"}) {
    if (known == name) return fmt::format("The filter '{}' of jinja2 is not supported.", name);
  }
  std::vector<std::string> names;
  for (const auto& table : {text_filters(), sequence_filters(), lazy_filters(), value_filters()}) {
    for (const Filter& filter : table) names.emplace_back(filter.name);
  }
  return fmt::format("No filter named '{}'{}.", name, did_you_mean(name, names));
}

AttributePath::AttributePath(Evaluator& evaluator, const Value& attribute, Value otherwise)
    : evaluator_(&evaluator), otherwise_(std::move(otherwise)) {
  if (attribute.is_missing() || attribute.is_none()) return;
  if (!attribute.is_string()) {
    parts_.push_back(attribute);
    return;
  }
  for (const std::string_view part : split(attribute.as_string(), '.')) {
    const bool digits = !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    parts_.push_back(digits ? *parse_integer(part, 10) : Value::string(std::string(part)));
  }
}

Value AttributePath::get(const Value& item) const {
  Value found = item;
  for (const Value& part : parts_) {
    evaluator_->budget().charge(kWorkOfANode);
    found = evaluator_->item(found, part);
    if (found.is_undefined() && !otherwise_.is_missing() && !otherwise_.is_none()) found = otherwise_;
  }
  return found;
}

}  // namespace octavo::text::jinja
