// Comparing and hashing values; containers nest at most kMaxNesting deep, so recursion is bounded.
#include "octavo/text/jinja/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "octavo/text/jinja/unicode.h"

namespace octavo::text::jinja {
namespace {

int sign(bool less_than, bool greater_than) { return less_than ? -1 : greater_than ? 1 : 0; }

// Exact, as Python's: no rounding of the integer to a double.
int compare_exactly(std::int64_t i, double d) {
  if (std::isnan(d)) return 2;
  if (d >= 0x1p63) return -1;
  if (d < -0x1p63) return 1;
  const double whole = std::floor(d);
  const auto w = static_cast<std::int64_t>(whole);
  if (i != w) return sign(i<w, i> w);
  return d > whole ? -1 : 0;
}

// Digits of any length with an optional minus.
int compare_digits(const std::string& a, const std::string& b) {
  const bool minus_a = a.starts_with('-'), minus_b = b.starts_with('-');
  if (minus_a != minus_b) return minus_a ? -1 : 1;
  int order = sign(a.size() < b.size(), a.size() > b.size());
  if (order == 0) order = sign(a<b, a> b);
  return minus_a ? -order : order;
}

bool equal_items(const std::vector<Value>& a, const std::vector<Value>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), equal);
}

bool equal_dicts(const DictObject& a, const DictObject& b) {
  if (a.entries().size() != b.entries().size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const DictObject::Entry& entry) {
    const Value* other = b.find(entry.first);
    return other != nullptr && equal(entry.second, *other);
  });
}

bool equal_ranges(const RangeObject& a, const RangeObject& b) {
  const std::int64_t size = a.size();
  if (size != b.size()) return false;
  return size == 0 || (a.start == b.start && (size == 1 || a.step == b.step));
}

bool equal_views(const ViewObject& a, const ViewObject& b) {
  if (a.of != b.of || a.of == ViewObject::Of::kValues) return &a == &b;  // dict_values compare by identity
  if (a.of == ViewObject::Of::kItems) return equal(a.dict, b.dict);
  const auto& entries = as_dict(a.dict).entries();
  if (entries.size() != as_dict(b.dict).entries().size()) return false;
  return std::all_of(entries.begin(), entries.end(),
                     [&](const DictObject::Entry& entry) { return as_dict(b.dict).find(entry.first) != nullptr; });
}

std::size_t mix(std::size_t seed, std::size_t hash) {
  constexpr std::size_t kGolden = 0x9E3779B97F4A7C15u;  // spreads bits, as boost::hash_combine
  return seed ^ (hash + kGolden + (seed << 6) + (seed >> 2));
}

}  // namespace

int compare_numbers(const Value& a, const Value& b) {
  if (a.is(Kind::kBigInt) || b.is(Kind::kBigInt)) {
    if (a.is_float() || b.is_float()) {
      // Beyond 64 bits either way: a double tells the order but for ties, which no template has.
      const double x = a.is_float() ? a.as_float() : std::strtod(a.as_string().c_str(), nullptr);
      const double y = b.is_float() ? b.as_float() : std::strtod(b.as_string().c_str(), nullptr);
      if (std::isnan(x) || std::isnan(y)) return 2;
      return sign(x<y, x> y);
    }
    const auto digits = [](const Value& v) {
      return v.is(Kind::kBigInt) ? v.as_string() : std::to_string(v.as_integer());
    };
    return compare_digits(digits(a), digits(b));
  }
  if (a.is_float() && b.is_float()) {
    const double x = a.as_float(), y = b.as_float();
    if (std::isnan(x) || std::isnan(y)) return 2;
    return sign(x<y, x> y);
  }
  if (a.is_float()) {
    const int order = compare_exactly(b.as_integer(), a.as_float());
    return order == 2 ? 2 : -order;
  }
  if (b.is_float()) return compare_exactly(a.as_integer(), b.as_float());
  return sign(a.as_integer() < b.as_integer(), a.as_integer() > b.as_integer());
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString: return a.pointer() == b.pointer() || a.as_string() == b.as_string();
    case Kind::kList:
    case Kind::kTuple: return a.pointer() == b.pointer() || equal_items(a.items(), b.items());
    case Kind::kDict: return a.pointer() == b.pointer() || equal_dicts(as_dict(a), as_dict(b));
    case Kind::kRange: return equal_ranges(a.get<RangeObject>(), b.get<RangeObject>());
    case Kind::kView: return equal_views(a.get<ViewObject>(), b.get<ViewObject>());
    default: return a.pointer() == b.pointer();
  }
}

bool less(const Value& a, const Value& b, std::string_view symbol) {
  if (a.is_undefined()) raise_undefined(a);
  if (b.is_undefined()) raise_undefined(b);
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == -1;
  if (a.is_string() && b.is_string()) return a.as_string() < b.as_string();  // UTF-8 sorts by code point
  if (a.is_sequence() && a.kind() == b.kind()) {
    const auto& x = a.items();
    const auto& y = b.items();
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i])) return less(x[i], y[i], symbol);
    }
    return x.size() < y.size();
  }
  raise("'{}' not supported between instances of '{}' and '{}'", symbol, type_name(a), type_name(b));
}

std::size_t hash_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kString: return std::hash<std::string>()(value.as_string());
    case Kind::kBool:
    case Kind::kInt: return std::hash<std::int64_t>()(value.as_integer());
    case Kind::kFloat: {
      const double d = value.as_float();
      // A whole number hashes as the integer it equals.
      if (d >= -0x1p63 && d < 0x1p63 && std::floor(d) == d) {
        return std::hash<std::int64_t>()(static_cast<std::int64_t>(d));
      }
      return std::hash<double>()(d);
    }
    case Kind::kBigInt: return std::hash<std::string>()(value.as_string());
    case Kind::kTuple: {
      std::size_t seed = value.items().size();
      for (const Value& item : value.items()) seed = mix(seed, hash_of(item));
      return seed;
    }
    case Kind::kList:
    case Kind::kDict:
    case Kind::kView: raise("unhashable type: '{}'", type_name(value));
    case Kind::kRange: return static_cast<std::size_t>(value.get<RangeObject>().size());
    case Kind::kIterator:
    case Kind::kInstance: return std::hash<const void*>()(value.pointer().get());
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone: break;
  }
  return static_cast<std::size_t>(value.kind());
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  switch (container.kind()) {
    case Kind::kUndefined: return false;
    case Kind::kString:
      if (!item.is_string()) raise("'in <string>' requires string as left operand, not {}", type_name(item));
      budget.charge(container.as_string().size() + item.as_string().size());
      return find_text(container.as_string(), item.as_string()) != std::string::npos;
    case Kind::kList:
    case Kind::kTuple:
      for (const Value& candidate : container.items()) {
        budget.charge(kWorkOfANode);
        if (equal(candidate, item)) return true;
      }
      return false;
    case Kind::kDict: return as_dict(container).find(item) != nullptr;
    case Kind::kRange: {
      if (!item.is_number() || item.is(Kind::kBigInt)) return false;
      const auto& range = container.get<RangeObject>();
      if (item.is_float()) {
        const double d = item.as_float();
        if (!(d >= -0x1p63 && d < 0x1p63) || std::floor(d) != d) return false;
      }
      const std::int64_t i = item.is_float() ? static_cast<std::int64_t>(item.as_float()) : item.as_integer();
      const bool inside = range.step > 0 ? i >= range.start && i < range.stop : i <= range.start && i > range.stop;
      if (!inside) return false;
      const auto from = static_cast<std::uint64_t>(range.start), to = static_cast<std::uint64_t>(i);
      const auto step = static_cast<std::uint64_t>(range.step);
      return range.step > 0 ? (to - from) % step == 0 : (from - to) % (0 - step) == 0;
    }
    case Kind::kView:
      if (container.get<ViewObject>().of == ViewObject::Of::kKeys) {
        return as_dict(container.get<ViewObject>().dict).find(item) != nullptr;
      }
      [[fallthrough]];
    case Kind::kIterator: {
      const auto walk = iterate(container);
      for (Value candidate; walk->next(candidate);) {
        budget.charge(kWorkOfANode);
        if (equal(candidate, item)) return true;
      }
      return false;
    }
    default: raise("argument of type '{}' is not iterable", type_name(container));
  }
}

bool compare(Op op, const Value& a, const Value& b, Budget& budget) {
  budget.charge(std::min(a.extent().weight, b.extent().weight));
  switch (op) {
    case Op::kEqual: return equal(a, b);
    case Op::kNotEqual: return !equal(a, b);
    case Op::kLess: return less(a, b);
    case Op::kGreater: return less(b, a, ">");
    case Op::kIn: return contains(b, a, budget);
    case Op::kNotIn: return !contains(b, a, budget);
    default: break;
  }
  // <= and >= are not the negation of > and <: NaN compares false with everything.
  const bool swap = op == Op::kGreaterEqual;
  const Value& low = swap ? b : a;
  const Value& high = swap ? a : b;
  if (low.is_undefined()) raise_undefined(low);
  if (high.is_undefined()) raise_undefined(high);
  if (low.is_number() && high.is_number()) {
    const int order = compare_numbers(low, high);
    return order == -1 || order == 0;
  }
  return !less(high, low, swap ? ">=" : "<=");
}

void sort_stable(std::vector<std::size_t>& order, const std::function<bool(std::size_t, std::size_t)>& before) {
  // A merge sort of our own: std::stable_sort may do anything when NaN makes the order inconsistent.
  std::vector<std::size_t> other(order.size());
  for (std::size_t width = 1; width < order.size(); width *= 2) {
    for (std::size_t begin = 0; begin < order.size(); begin += 2 * width) {
      const std::size_t middle = std::min(begin + width, order.size());
      const std::size_t end = std::min(begin + 2 * width, order.size());
      std::size_t left = begin, right = middle;
      for (std::size_t out = begin; out < end; ++out) {
        const bool take_right = left == middle || (right < end && before(order[right], order[left]));
        other[out] = take_right ? order[right++] : order[left++];
      }
    }
    order.swap(other);
  }
}

}  // namespace octavo::text::jinja
