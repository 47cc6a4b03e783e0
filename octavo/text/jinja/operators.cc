// Arithmetic with Python's signs and types, on 64-bit integers: beyond them it raises instead of growing.
#include "octavo/text/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"

namespace octavo::text::jinja {
namespace {

std::string_view symbol(Op op) {
  switch (op) {
    case Op::kAdd: return "+";
    case Op::kSubtract: return "-";
    case Op::kMultiply: return "*";
    case Op::kDivide: return "/";
    case Op::kFloorDivide: return "//";
    case Op::kModulo: return "%";
    default: return "**";
  }
}

[[noreturn]] void raise_overflow() { raise("the result of a calculation does not fit in 64 bits"); }

Value integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) raise("0.0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) raise_overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) raise_overflow();
  }
  return Value::integer(result);
}

// Rounds towards minus infinity, as Python; C++ rounds towards zero.
Value integer_division(Op op, std::int64_t a, std::int64_t b) {
  if (b == 0) raise("integer division or modulo by zero");
  if (b == -1) {  // INT64_MIN / -1 overflows
    if (op == Op::kModulo) return Value::integer(0);
    std::int64_t result = 0;
    if (__builtin_sub_overflow(std::int64_t{0}, a, &result)) raise_overflow();
    return Value::integer(result);
  }
  std::int64_t quotient = a / b, rest = a % b;
  if (rest != 0 && (rest < 0) != (b < 0)) {
    --quotient;
    rest += b;
  }
  return Value::integer(op == Op::kModulo ? rest : quotient);
}

Value calculate_integers(Op op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Op::kAdd: overflow = __builtin_add_overflow(a, b, &result); break;
    case Op::kSubtract: overflow = __builtin_sub_overflow(a, b, &result); break;
    case Op::kMultiply: overflow = __builtin_mul_overflow(a, b, &result); break;
    case Op::kDivide:
      if (b == 0) raise("division by zero");
      // long double holds 64-bit integers exactly, so that only the quotient is rounded.
      return Value::real(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Op::kFloorDivide:
    case Op::kModulo: return integer_division(op, a, b);
    default: return integer_power(a, b);
  }
  if (overflow) raise_overflow();
  return Value::integer(result);
}

// Python's float_divmod: the remainder has the sign of b.
Value float_division(Op op, double a, double b) {
  if (b == 0) raise("float {} by zero", op == Op::kModulo ? "modulo" : "floor division");
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) {
      rest += b;
      quotient -= 1;
    }
  } else {
    rest = std::copysign(0.0, b);
  }
  if (op == Op::kModulo) return Value::real(rest);
  if (quotient == 0) return Value::real(std::copysign(0.0, a / b));
  double whole = std::floor(quotient);
  if (quotient - whole > 0.5) whole += 1;
  return Value::real(whole);
}

Value calculate_floats(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd: return Value::real(a + b);
    case Op::kSubtract: return Value::real(a - b);
    case Op::kMultiply: return Value::real(a * b);
    case Op::kDivide:
      if (b == 0) raise("float division by zero");
      return Value::real(a / b);
    case Op::kFloorDivide:
    case Op::kModulo: return float_division(op, a, b);
    default: break;
  }
  if (a == 0 && b < 0) raise("0.0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && std::floor(b) != b) {
    raise("a negative number to a fractional power is complex, which is not supported");
  }
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) raise("Numerical result out of range");
  return Value::real(result);
}

double as_double(const Value& value) {
  return value.is_float() ? value.as_float() : static_cast<double>(value.as_integer());
}

// n copies in a row.
Value repeat(const Value& value, std::int64_t n, Budget& budget) {
  const auto times = static_cast<std::uint64_t>(std::max<std::int64_t>(n, 0));
  const auto checked = [&](std::uint64_t size) {
    if (size != 0 && times > budget.limits().bytes / size) budget.charge_allocation(UINT64_MAX);
    budget.charge_allocation(size * times);
  };
  if (value.is_string()) {
    const std::string& unit = value.as_string();
    checked(unit.size());
    std::string out;
    out.reserve(unit.size() * times);
    if (unit.size() == 1) {
      out.append(times, unit[0]);
    } else if (!unit.empty()) {
      for (std::uint64_t i = 0; i < times; ++i) out += unit;
    }
    return value.is_markup() ? Value::markup(std::move(out)) : Value::string(std::move(out));
  }
  checked(value.items().size() * sizeof(Value));
  std::vector<Value> out;
  if (!value.items().empty()) {
    out.reserve(value.items().size() * times);
    for (std::uint64_t i = 0; i < times; ++i) out.insert(out.end(), value.items().begin(), value.items().end());
  }
  return value.is(Kind::kList) ? Value::list(std::move(out)) : Value::tuple(std::move(out));
}

bool repeats(const Value& value) { return value.is_string() || value.is_sequence(); }

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

Value add(const Value& a, const Value& b, Budget& budget) {
  if (a.is_undefined()) raise_undefined(a);
  if (b.is_undefined()) raise_undefined(b);
  if (a.is_string() && b.is_string()) {
    budget.charge_allocation(a.as_string().size() + b.as_string().size());
    if (!a.is_markup() && !b.is_markup()) return Value::string(a.as_string() + b.as_string());
    const auto safe = [](const Value& v) { return v.is_markup() ? v.as_string() : escape_html(v.as_string()); };
    return Value::markup(safe(a) + safe(b));
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    budget.charge_allocation((a.items().size() + b.items().size()) * sizeof(Value));
    std::vector<Value> items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return a.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }
  if (a.is(Kind::kBigInt) || b.is(Kind::kBigInt)) {
    if (a.is_number() && b.is_number()) raise("integers beyond 64 bits cannot be calculated with");
  } else if (a.is_integral() && b.is_integral()) {
    return calculate_integers(Op::kAdd, a.as_integer(), b.as_integer());
  } else if (a.is_number() && b.is_number()) {
    return Value::real(as_double(a) + as_double(b));
  }
  if (a.is_string()) raise("can only concatenate str (not \"{}\") to str", type_name(b));
  raise("unsupported operand type(s) for +: '{}' and '{}'", type_name(a), type_name(b));
}

Value calculate(Op op, const Value& a, const Value& b, Evaluator& evaluator) {
  Budget& budget = evaluator.budget();
  if (op == Op::kAdd) return add(a, b, budget);
  if (op == Op::kModulo && a.is_string()) {
    std::string text = format_printf(a.as_string(), b, evaluator);
    return a.is_markup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
  }
  if (a.is_undefined()) raise_undefined(a);
  if (b.is_undefined()) raise_undefined(b);
  if (op == Op::kMultiply && repeats(a) && b.is_integral()) return repeat(a, b.as_integer(), budget);
  if (op == Op::kMultiply && a.is_integral() && repeats(b)) return repeat(b, a.as_integer(), budget);
  if (!a.is_number() || !b.is_number()) {
    raise("unsupported operand type(s) for {}: '{}' and '{}'", symbol(op), type_name(a), type_name(b));
  }
  if (a.is(Kind::kBigInt) || b.is(Kind::kBigInt)) raise("integers beyond 64 bits cannot be calculated with");
  if (a.is_integral() && b.is_integral()) return calculate_integers(op, a.as_integer(), b.as_integer());
  return calculate_floats(op, as_double(a), as_double(b));
}

Value negate(const Value& value, bool negative) {
  if (value.is_undefined()) raise_undefined(value);
  if (value.is_float()) return Value::real(negative ? -value.as_float() : value.as_float());
  if (!value.is_integral()) raise("bad operand type for unary {}: '{}'", negative ? '-' : '+', type_name(value));
  return calculate_integers(negative ? Op::kSubtract : Op::kAdd, 0, value.as_integer());
}

Value slice(const Value& value, const Value* start, const Value* stop, const Value* step, Budget& budget) {
  if (value.is_undefined()) raise_undefined(value);
  if (!value.is_string() && !value.is_sequence() && !value.is(Kind::kRange)) {
    raise("'{}' object cannot be sliced", type_name(value));
  }
  const auto number = [](const Value* v, std::int64_t otherwise) {
    if (v == nullptr || v->is_none()) return otherwise;
    if (!v->is_integral()) raise("slice indices must be integers or None, not {}", type_name(*v));
    return v->as_integer();
  };
  const std::int64_t by = std::max(number(step, 1), -INT64_MAX);
  if (by == 0) raise("slice step cannot be zero");
  const std::int64_t size = length_of(value);
  const std::int64_t lowest = by > 0 ? 0 : -1, highest = by > 0 ? size : size - 1;
  const auto clamp = [&](std::int64_t i) { return std::clamp(i < 0 ? i + size : i, lowest, highest); };
  const auto given = [](const Value* v) { return v != nullptr && !v->is_none(); };
  const std::int64_t first = given(start) ? clamp(number(start, 0)) : (by > 0 ? lowest : highest);
  const std::int64_t last = given(stop) ? clamp(number(stop, 0)) : (by > 0 ? highest : lowest);
  RangeObject indices;
  indices.start = first;
  indices.stop = last;
  indices.step = by;
  const std::int64_t count = indices.size();

  if (value.is(Kind::kRange)) {
    const auto& range = value.get<RangeObject>();
    return make_range(range.at(first), range.at(last), range.step * by);
  }
  if (value.is_string()) {
    const std::string& text = value.as_string();
    budget.charge_allocation(text.size());
    const auto made = [&](std::string out) {
      return value.is_markup() ? Value::markup(std::move(out)) : Value::string(std::move(out));
    };
    if (by == 1) {
      if (count == 0) return made("");
      const auto begin = static_cast<std::size_t>(first), length = static_cast<std::size_t>(count);
      if (value.is_ascii()) return made(text.substr(begin, length));
      const std::size_t from = byte_of_char(text, begin);
      return made(text.substr(from, byte_of_char(std::string_view(text).substr(from), length)));
    }
    const std::u32string all = to_code_points(text);
    std::u32string out;
    for (std::int64_t i = 0; i < count; ++i) out += all[static_cast<std::size_t>(indices.at(i))];
    return made(to_utf8(out));
  }
  budget.charge_allocation(static_cast<std::uint64_t>(count) * sizeof(Value));
  std::vector<Value> out;
  out.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) out.push_back(value.items()[static_cast<std::size_t>(indices.at(i))]);
  return value.is(Kind::kList) ? Value::list(std::move(out)) : Value::tuple(std::move(out));
}

}  // namespace octavo::text::jinja
