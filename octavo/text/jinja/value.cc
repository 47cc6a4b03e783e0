// Making and looking at values.
#include "octavo/text/jinja/value.h"

#include <algorithm>

#include "octavo/text/jinja/compare.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"

namespace octavo::text::jinja {
namespace {

// Up to here a scan is faster than a hash table.
constexpr std::size_t kLinear = 8;

}  // namespace

Value Value::boolean(bool b) {
  Value v(Kind::kBool, nullptr);
  v.integer_ = b ? 1 : 0;
  return v;
}

Value Value::integer(std::int64_t i) {
  Value v(Kind::kInt, nullptr);
  v.integer_ = i;
  return v;
}

Value Value::real(double d) {
  Value v(Kind::kFloat, nullptr);
  v.real_ = d;
  return v;
}

Value Value::string(std::string text) {
  return Value(Kind::kString, std::make_shared<const StringObject>(std::move(text)));
}

Value Value::markup(std::string text) {
  auto object = std::make_shared<StringObject>(std::move(text));
  object->markup = true;
  return Value(Kind::kString, std::move(object));
}

Value Value::big_integer(std::string digits) {
  return Value(Kind::kBigInt, std::make_shared<const StringObject>(std::move(digits)));
}

Value Value::list(std::vector<Value> items) {
  return Value(Kind::kList, std::make_shared<const ListObject>(std::move(items)));
}

Value Value::tuple(std::vector<Value> items) {
  return Value(Kind::kTuple, std::make_shared<const ListObject>(std::move(items)));
}

const std::string& Value::as_string() const { return get<StringObject>().text; }
bool Value::is_ascii() const { return get<StringObject>().ascii; }
bool Value::is_markup() const { return get<StringObject>().markup; }
const std::vector<Value>& Value::items() const { return get<ListObject>().items; }

bool Value::identical(const Value& other) const {
  if (kind_ != other.kind_) return false;
  if (object_ != nullptr || other.object_ != nullptr) return object_ == other.object_;
  return integer_ == other.integer_;  // for a double: the same bits
}

void Extent::add(const Extent& inner) {
  nesting = std::max(nesting, inner.nesting + 1);
  weight += inner.weight;
  if (nesting > kMaxNesting) raise("a value nested deeper than {} levels", kMaxNesting);
  if (weight > kMaxWeight) raise("a value of more than {} elements", kMaxWeight);
}

Extent Value::extent() const {
  constexpr std::uint64_t kBytesOfAnElement = 32;
  switch (kind_) {
    case Kind::kString: return {.weight = 1 + as_string().size() / kBytesOfAnElement};
    case Kind::kList:
    case Kind::kTuple: return get<ListObject>().extent;
    case Kind::kDict: return get<DictObject>().extent();
    case Kind::kView: return get<ViewObject>().dict.extent();
    case Kind::kIterator: return get<Iterator>().extent;
    case Kind::kInstance: return get<Instance>().extent();
    default: return {};
  }
}

StringObject::StringObject(std::string t) : text(std::move(t)), ascii(is_all_ascii(text)) {}

ListObject::ListObject(std::vector<Value> list) : items(std::move(list)), extent{.nesting = 1} {
  for (const Value& item : items) extent.add(item.extent());
}

std::string UndefinedObject::message() const {
  if (!hint.empty()) return hint;
  if (owner.empty()) return fmt::format("'{}' is undefined", name);
  if (!name_is_text) return fmt::format("{} has no element {}", owner, name);
  return fmt::format("'{}' has no attribute '{}'", owner, name);
}

Value undefined_variable(std::string_view name) {
  auto object = std::make_shared<UndefinedObject>();
  object->name = name;
  return Value::object(Kind::kUndefined, std::move(object));
}

Value undefined_hint(std::string hint) {
  auto object = std::make_shared<UndefinedObject>();
  object->hint = std::move(hint);
  return Value::object(Kind::kUndefined, std::move(object));
}

Value undefined_member(const Value& owner, const Value& name) {
  auto object = std::make_shared<UndefinedObject>();
  object->owner = owner.is_none() ? std::string("None") : fmt::format("{} object", type_name(owner));
  object->name_is_text = name.is_string();
  if (name.is_string()) {
    object->name = name.as_string();
  } else {
    object->name = name.is_number() ? to_text(name) : fmt::format("of type {}", type_name(name));
  }
  return Value::object(Kind::kUndefined, std::move(object));
}

void raise_undefined(const Value& undefined) { raise("{}", undefined.get<UndefinedObject>().message()); }

std::size_t DictObject::position(const Value& key, std::size_t hash) const {
  if (entries_.size() <= kLinear) {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (equal(entries_[i].first, key)) return i;
    }
    return entries_.size();
  }
  const auto [first, last] = index_.equal_range(hash);
  for (auto at = first; at != last; ++at) {
    if (equal(entries_[at->second].first, key)) return at->second;
  }
  return entries_.size();
}

const Value* DictObject::find(const Value& key) const {
  const std::size_t i = position(key, hash_of(key));
  return i < entries_.size() ? &entries_[i].second : nullptr;
}

const Value* DictObject::find(std::string_view key) const {
  if (entries_.size() > kLinear) return find(Value::string(std::string(key)));
  for (const Entry& entry : entries_) {
    if (entry.first.is_string() && entry.first.as_string() == key) return &entry.second;
  }
  return nullptr;
}

void DictObject::set(Value key, Value value) {
  const std::size_t hash = hash_of(key);
  extent_.add(key.extent());
  extent_.add(value.extent());
  const std::size_t i = position(key, hash);
  if (i < entries_.size()) {
    entries_[i].second = std::move(value);
    return;
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (entries_.size() == kLinear + 1) {
    for (std::size_t k = 0; k < entries_.size(); ++k) index_.emplace(hash_of(entries_[k].first), k);
  } else if (entries_.size() > kLinear) {
    index_.emplace(hash, i);
  }
}

Value make_dict(std::shared_ptr<DictObject> dict) { return Value::object(Kind::kDict, std::move(dict)); }
const DictObject& as_dict(const Value& value) { return value.get<DictObject>(); }

std::int64_t RangeObject::size() const {
  // Unsigned: the distance of two 64-bit ends needs the 64th bit.
  const auto low = static_cast<std::uint64_t>(step > 0 ? start : stop);
  const auto high = static_cast<std::uint64_t>(step > 0 ? stop : start);
  if (step > 0 ? start >= stop : start <= stop) return 0;
  const std::uint64_t stride = step > 0 ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
  const std::uint64_t count = (high - low - 1) / stride + 1;
  return static_cast<std::int64_t>(std::min(count, static_cast<std::uint64_t>(INT64_MAX)));
}

Value make_range(std::int64_t start, std::int64_t stop, std::int64_t step) {
  auto object = std::make_shared<RangeObject>();
  object->start = start;
  object->stop = stop;
  object->step = step;
  return Value::object(Kind::kRange, std::move(object));
}

Value ViewObject::at(std::size_t index) const {
  const DictObject::Entry& entry = as_dict(dict).entries()[index];
  switch (of) {
    case Of::kKeys: return entry.first;
    case Of::kValues: return entry.second;
    case Of::kItems: break;
  }
  return Value::tuple({entry.first, entry.second});
}

Value make_view(ViewObject::Of of, const Value& dict) {
  auto object = std::make_shared<ViewObject>();
  object->of = of;
  object->dict = dict;
  return Value::object(Kind::kView, std::move(object));
}

Value make_instance(std::shared_ptr<const Instance> instance) {
  return Value::object(Kind::kInstance, std::move(instance));
}

Value Instance::attribute(const Value&, std::string_view) const { return {}; }

Value Instance::call(Evaluator&, const Arguments&) const { raise("'{}' object is not callable", type_name()); }

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt:
    case Kind::kBigInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return value.is_markup() ? "Markup" : "str";
    case Kind::kList: return "list";
    case Kind::kTuple: return "tuple";
    case Kind::kDict: return "dict";
    case Kind::kRange: return "range";
    case Kind::kIterator: return "generator";
    case Kind::kInstance: return value.get<Instance>().callable() ? "function" : "object";
    case Kind::kView: break;
  }
  switch (value.get<ViewObject>().of) {
    case ViewObject::Of::kKeys: return "dict_keys";
    case ViewObject::Of::kValues: return "dict_values";
    case ViewObject::Of::kItems: break;
  }
  return "dict_items";
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool:
    case Kind::kInt: return value.as_integer() != 0;
    case Kind::kFloat: return value.as_float() != 0;
    case Kind::kString: return !value.as_string().empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
    case Kind::kView: return length_of(value) != 0;
    case Kind::kBigInt:
    case Kind::kIterator:
    case Kind::kInstance: break;
  }
  return true;
}

std::int64_t length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return 0;
    case Kind::kString:
      return static_cast<std::int64_t>(value.is_ascii() ? value.as_string().size() : count_chars(value.as_string()));
    case Kind::kList:
    case Kind::kTuple: return static_cast<std::int64_t>(value.items().size());
    case Kind::kDict: return static_cast<std::int64_t>(as_dict(value).entries().size());
    case Kind::kRange: return value.get<RangeObject>().size();
    case Kind::kView: return length_of(value.get<ViewObject>().dict);
    default: return -1;
  }
}

}  // namespace octavo::text::jinja
