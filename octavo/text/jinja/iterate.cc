// Walking over values.
#include "octavo/text/jinja/unicode.h"
#include "octavo/text/jinja/value.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

struct NothingIterator final : Iterator {
  bool next(Value&) override { return false; }
};

struct ItemsIterator final : Iterator {
  explicit ItemsIterator(Value v) : list(std::move(v)) {}
  bool next(Value& out) override {
    if (at == list.items().size()) return false;
    out = list.items()[at++];
    return true;
  }
  Value list;
  std::size_t at = 0;
};

struct CharIterator final : Iterator {
  explicit CharIterator(Value v) : text(std::move(v)) {}
  bool next(Value& out) override {
    const std::string& all = text.as_string();
    if (at >= all.size()) return false;
    const std::size_t length = utf8_length_of(all[at]);
    out = Value::string(all.substr(at, length));
    at += length;
    return true;
  }
  Value text;
  std::size_t at = 0;
};

struct RangeIterator final : Iterator {
  explicit RangeIterator(const RangeObject& r) : range(r), left(r.size()) {}
  bool next(Value& out) override {
    if (left == 0) return false;
    out = Value::integer(range.at(range.size() - left));
    --left;
    return true;
  }
  RangeObject range;
  std::int64_t left;
};

struct ViewIterator final : Iterator {
  ViewIterator(ViewObject::Of of, Value dict) {
    view.of = of;
    view.dict = std::move(dict);
  }
  bool next(Value& out) override {
    if (at == as_dict(view.dict).entries().size()) return false;
    out = view.at(at++);
    return true;
  }
  ViewObject view;
  std::size_t at = 0;
};

}  // namespace

Value make_iterator(std::shared_ptr<Iterator> iterator) { return Value::object(Kind::kIterator, std::move(iterator)); }

std::shared_ptr<Iterator> iterate(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return std::make_shared<NothingIterator>();
    case Kind::kString: return std::make_shared<CharIterator>(value);
    case Kind::kList:
    case Kind::kTuple: return std::make_shared<ItemsIterator>(value);
    case Kind::kDict: return std::make_shared<ViewIterator>(ViewObject::Of::kKeys, value);
    case Kind::kRange: return std::make_shared<RangeIterator>(value.get<RangeObject>());
    case Kind::kView: {
      const auto& view = value.get<ViewObject>();
      return std::make_shared<ViewIterator>(view.of, view.dict);
    }
    case Kind::kIterator:
      // Made mutable by make_iterator: an iterator is the one value that changes as it is used.
      return std::const_pointer_cast<Iterator>(std::static_pointer_cast<const Iterator>(value.pointer()));
    default: raise("'{}' object is not iterable", type_name(value));
  }
}

std::vector<Value> collect(const Value& iterable, Budget& budget) {
  if (iterable.is_sequence()) {
    budget.charge_allocation(iterable.items().size() * sizeof(Value));
    return iterable.items();
  }
  std::vector<Value> out;
  const auto walk = iterate(iterable);
  for (Value item; walk->next(item);) {
    budget.charge(4 * kWorkOfANode);  // bounds the memory too: a Value and the short string it may hold
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace octavo::text::jinja
