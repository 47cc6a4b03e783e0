// Attributes of Python's own types, and what the sandbox forbids of them (jinja2's ImmutableSandboxedEnvironment).
#include <algorithm>
#include <bit>
#include <cmath>

#include "octavo/text/jinja/compare.h"
#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/methods.h"
#include "octavo/text/jinja/parameters.h"

namespace octavo::text::jinja {
namespace {

Value unsafe(const Value& object, std::string_view name) {
  return undefined_hint(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(object)));
}

template <std::size_t N>
bool is_one_of(std::string_view name, const std::string_view (&names)[N]) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// ---- dict

template <ViewObject::Of kOf>
Value view(Evaluator&, const Value& self, const Arguments& arguments) {
  const Parameters none("dict view", arguments, {});
  return make_view(kOf, self);
}

Value get(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("get", arguments, {"", ""}, 1);
  evaluator.budget().charge(given.at(0).extent().weight);
  const Value* found = as_dict(self).find(given.at(0));
  return found != nullptr ? *found : given.value(1, Value::none());
}

Value copy(Evaluator&, const Value& self, const Arguments& arguments) {
  const Parameters none("copy", arguments, {});
  return self;  // immutable: the copy cannot be told from it
}

// ---- list, tuple, range

Value count(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("count", arguments, {""}, 1);
  const Value items = Value::list(collect(self, evaluator.budget()));
  evaluator.budget().charge(items.extent().weight);
  return Value::integer(std::count_if(items.items().begin(), items.items().end(),
                                      [&](const Value& item) { return equal(item, given.at(0)); }));
}

Value index(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("index", arguments, {"", "", ""}, 1);
  const std::vector<Value> items = collect(self, evaluator.budget());
  const auto size = static_cast<std::int64_t>(items.size());
  const auto bound = [&](std::size_t i, std::int64_t otherwise) {
    const std::int64_t at = given.integer(i, otherwise);
    return std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size);
  };
  evaluator.budget().charge(self.extent().weight);
  for (std::int64_t i = bound(1, 0); i < bound(2, size); ++i) {
    if (equal(items[static_cast<std::size_t>(i)], given.at(0))) return Value::integer(i);
  }
  raise("the value is not in the {}", type_name(self));
}

// ---- numbers

Value bit_length(Evaluator&, const Value& self, const Arguments& arguments) {
  const Parameters none("bit_length", arguments, {});
  const std::int64_t i = self.as_integer();
  const std::uint64_t magnitude = i < 0 ? 0 - static_cast<std::uint64_t>(i) : static_cast<std::uint64_t>(i);
  return Value::integer(static_cast<std::int64_t>(std::bit_width(magnitude)));
}
Value bit_count(Evaluator&, const Value& self, const Arguments& arguments) {
  const Parameters none("bit_count", arguments, {});
  const std::int64_t i = self.as_integer();
  return Value::integer(std::popcount(i < 0 ? 0 - static_cast<std::uint64_t>(i) : static_cast<std::uint64_t>(i)));
}
Value is_integer(Evaluator&, const Value& self, const Arguments& arguments) {
  const Parameters none("is_integer", arguments, {});
  return Value::boolean(std::isfinite(self.as_float()) && std::floor(self.as_float()) == self.as_float());
}
Value conjugate(Evaluator&, const Value& self, const Arguments& arguments) {
  const Parameters none("conjugate", arguments, {});
  return self.is_bool() ? Value::integer(self.as_integer()) : self;
}

Value number_attribute(const Value& object, std::string_view name) {
  if (object.is(Kind::kBigInt)) return {};
  const Value plain = object.is_bool() ? Value::integer(object.as_integer()) : object;
  if (name == "real") return plain;
  if (name == "imag") return object.is_float() ? Value::real(0) : Value::integer(0);
  if (name == "conjugate") return make_method(name, object, conjugate);
  if (object.is_float()) return name == "is_integer" ? make_method(name, object, is_integer) : Value();
  if (name == "numerator") return plain;
  if (name == "denominator") return Value::integer(1);
  if (name == "bit_length") return make_method(name, object, bit_length);
  if (name == "bit_count") return make_method(name, object, bit_count);
  return {};
}

Value sequence_attribute(const Value& object, std::string_view name) {
  if (name == "count") return make_method(name, object, count);
  if (name == "index") return make_method(name, object, index);
  return {};
}

Value list_attribute(const Value& object, std::string_view name) {
  static constexpr std::string_view kForbidden[] = {"append", "clear", "pop",    "reverse",
                                                    "insert", "sort",  "extend", "remove"};
  if (is_one_of(name, kForbidden)) return unsafe(object, name);
  if (name == "copy") return make_method(name, object, copy);
  return sequence_attribute(object, name);
}

Value tuple_attribute(const Value& object, std::string_view name) {
  if (object.get<ListObject>().group) {
    if (name == "grouper") return object.items()[0];
    if (name == "list") return object.items()[1];
  }
  return sequence_attribute(object, name);
}

Value range_attribute(const Value& object, std::string_view name) {
  const auto& range = object.get<RangeObject>();
  if (name == "start") return Value::integer(range.start);
  if (name == "stop") return Value::integer(range.stop);
  if (name == "step") return Value::integer(range.step);
  return sequence_attribute(object, name);
}

Value dict_attribute(const Value& object, std::string_view name) {
  static constexpr std::string_view kForbidden[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (name == "items") return make_method(name, object, view<ViewObject::Of::kItems>);
  if (name == "keys") return make_method(name, object, view<ViewObject::Of::kKeys>);
  if (name == "values") return make_method(name, object, view<ViewObject::Of::kValues>);
  if (name == "get") return make_method(name, object, get);
  if (name == "copy") return make_method(name, object, copy);
  if (name == "fromkeys") return find_global("dict")->get<Instance>().attribute(object, name);
  if (is_one_of(name, kForbidden)) return unsafe(object, name);
  return {};
}

}  // namespace

Value builtin_attribute(const Value& object, std::string_view name) {
  // What every object has and the sandbox hides. A dict may have a key of such a name all the same.
  static constexpr std::string_view kEverywhere[] = {
      "__class__", "__delattr__", "__dir__",    "__doc__",  "__eq__",           "__format__",
      "__ge__",    "__gt__",      "__hash__",   "__init__", "__getattribute__", "__init_subclass__",
      "__le__",    "__lt__",      "__ne__",     "__new__",  "__reduce__",       "__reduce_ex__",
      "__repr__",  "__setattr__", "__sizeof__", "__str__",  "__subclasshook__", "__getstate__"};
  if (name.starts_with("__") && is_one_of(name, kEverywhere)) return unsafe(object, name);
  switch (object.kind()) {
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBigInt:
    case Kind::kFloat: return number_attribute(object, name);
    case Kind::kString: {
      const MethodFunction method = find_string_method(name);
      return method != nullptr ? make_method(name, object, method) : Value();
    }
    case Kind::kList: return list_attribute(object, name);
    case Kind::kTuple: return tuple_attribute(object, name);
    case Kind::kRange: return range_attribute(object, name);
    case Kind::kDict: return dict_attribute(object, name);
    default: return {};
  }
}

}  // namespace octavo::text::jinja
