// Filters of sequences that give a value at once.
#include <algorithm>
#include <numeric>

#include "octavo/base/text.h"
#include "octavo/text/jinja/compare.h"
#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/filters.h"
#include "octavo/text/jinja/methods.h"
#include "octavo/text/jinja/operators.h"
#include "octavo/text/jinja/parameters.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"

namespace octavo::text::jinja {
namespace {

Value length(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters none("length", arguments, {});
  if (value.is(Kind::kInstance)) {
    const Value found = value.get<Instance>().attribute(value, "length");  // only a loop has one
    if (found.is(Kind::kInt)) return found;
  }
  const std::int64_t size = length_of(value);
  if (size < 0) raise("object of type '{}' has no len()", type_name(value));
  return Value::integer(size);
}

Value first(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters none("first", arguments, {});
  Value item;
  if (iterate(value)->next(item)) return item;
  return undefined_hint("No first item, sequence was empty.");
}

// reversed(): nothing where Python raises TypeError.
std::optional<std::vector<Value>> reversed(const Value& value, Budget& budget) {
  if (length_of(value) < 0) return std::nullopt;
  std::vector<Value> items = collect(value, budget);
  std::reverse(items.begin(), items.end());
  return items;
}

Value last(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("last", arguments, {});
  if (value.is_sequence() && !value.items().empty()) return value.items().back();
  const auto items = reversed(value, evaluator.budget());
  if (!items) raise("'{}' object is not reversible", type_name(value));
  return items->empty() ? undefined_hint("No last item, sequence was empty.") : items->front();
}

Value list(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("list", arguments, {});
  return Value::list(collect(value, evaluator.budget()));
}

struct ListIterator final : Iterator {
  explicit ListIterator(std::vector<Value> v) : items(std::move(v)) { label = "list_reverseiterator object"; }
  bool next(Value& out) override {
    if (at == items.size()) return false;
    out = items[at++];
    return true;
  }
  std::vector<Value> items;
  std::size_t at = 0;
};

Value reverse(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("reverse", arguments, {});
  if (value.is_string()) {
    evaluator.budget().charge_allocation(value.as_string().size());
    std::u32string all = to_code_points(value.as_string());
    std::reverse(all.begin(), all.end());
    return Value::string(to_utf8(all));
  }
  if (auto items = reversed(value, evaluator.budget())) {
    auto walk = std::make_shared<ListIterator>(std::move(*items));
    walk->extent.add(value.extent());
    return make_iterator(std::move(walk));
  }
  if (!value.is(Kind::kIterator)) raise("argument must be iterable");
  std::vector<Value> items = collect(value, evaluator.budget());
  std::reverse(items.begin(), items.end());
  return Value::list(std::move(items));
}

Value join(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("join", arguments, {"d", "attribute"});
  Budget& budget = evaluator.budget();
  const AttributePath path(evaluator, given.value(1, Value::none()));
  const std::string separator = given.has(0) ? to_text(given.at(0), budget) : "";
  std::string out;
  const auto walk = iterate(value);
  bool is_first = true;
  for (Value item; walk->next(item);) {
    budget.charge(kWorkOfANode);
    if (!is_first) out += separator;
    is_first = false;
    out += to_text(path.get(item), budget);
    budget.charge(separator.size());
    budget.check_size(out.size());
  }
  return Value::string(std::move(out));
}

// The order that sorts `keys`.
std::vector<std::size_t> sorted_order(const std::vector<Value>& keys, bool descending, Budget& budget) {
  std::vector<std::size_t> order(keys.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  sort_stable(order, [&](std::size_t a, std::size_t b) {
    budget.charge(kWorkOfANode + std::min(keys[a].extent().weight, keys[b].extent().weight));
    return descending ? less(keys[b], keys[a]) : less(keys[a], keys[b]);
  });
  return order;
}

std::vector<Value> arranged(const std::vector<Value>& items, const std::vector<std::size_t>& order) {
  std::vector<Value> out;
  out.reserve(items.size());
  for (const std::size_t i : order) out.push_back(items[i]);
  return out;
}

Value sort(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const std::vector<Value> items = collect(value, evaluator.budget());
  const bool exact = given.flag(1, false);
  const Value attribute = given.value(2, Value::none());
  std::vector<AttributePath> paths;
  if (attribute.is_string()) {
    for (const std::string_view part : split(attribute.as_string(), ',')) {
      paths.emplace_back(evaluator, Value::string(std::string(part)));
    }
  } else {
    paths.emplace_back(evaluator, attribute);
  }
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> parts;
    for (const AttributePath& path : paths) parts.push_back(exact ? path.get(item) : ignore_case(path.get(item)));
    evaluator.budget().charge(parts.size() * sizeof(Value));
    keys.push_back(Value::list(std::move(parts)));
  }
  return Value::list(arranged(items, sorted_order(keys, given.flag(0, false), evaluator.budget())));
}

Value sort_dict(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  if (value.is_undefined()) raise_undefined(value);
  const std::string by = given.has(1) ? given.text(1) : "key";
  if (by != "key" && by != "value") raise("You can only sort by either \"key\" or \"value\"");
  if (!value.is(Kind::kDict)) raise("'{}' object has no attribute 'items'", type_name(value));
  std::vector<Value> items, keys;
  for (const auto& [key, element] : as_dict(value).entries()) {
    evaluator.budget().charge(4 * kWorkOfANode);
    const Value& chosen = by == "key" ? key : element;
    keys.push_back(given.flag(0, false) ? chosen : ignore_case(chosen));
    items.push_back(Value::tuple({key, element}));
  }
  return Value::list(arranged(items, sorted_order(keys, given.flag(2, false), evaluator.budget())));
}

Value group(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const AttributePath path(evaluator, given.at(0), given.value(1, Value()));
  const bool exact = given.flag(2, false);
  std::vector<Value> items = collect(value, evaluator.budget());
  std::vector<Value> keys;
  for (const Value& item : items) keys.push_back(exact ? path.get(item) : ignore_case(path.get(item)));
  const std::vector<std::size_t> order = sorted_order(keys, false, evaluator.budget());
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    std::vector<Value> members;
    for (; end < order.size() && equal(keys[order[end]], keys[order[begin]]); ++end) {
      evaluator.budget().charge(kWorkOfANode + keys[order[end]].extent().weight);
      members.push_back(items[order[end]]);
    }
    if (members.empty()) {  // a NaN equals nothing, not even itself; itertools.groupby compares by identity first
      members.push_back(items[order[begin]]);
      end = begin + 1;
    }
    Value key = exact ? keys[order[begin]] : path.get(members.front());
    auto pair = std::make_shared<ListObject>(std::vector<Value>{std::move(key), Value::list(std::move(members))});
    pair->group = true;
    groups.push_back(Value::object(Kind::kTuple, std::move(pair)));
    begin = end;
  }
  return Value::list(std::move(groups));
}

Value extreme(Evaluator& evaluator, const Value& value, const Arguments& arguments, bool greatest) {
  const Parameters given(greatest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const AttributePath path(evaluator, given.value(1, Value::none()));
  const bool exact = given.flag(0, false);
  const auto walk = iterate(value);
  Value best, best_key;
  for (Value item; walk->next(item);) {
    Value key = exact ? path.get(item) : ignore_case(path.get(item));
    evaluator.budget().charge(kWorkOfANode + key.extent().weight);
    if (!best.is_missing() && !(greatest ? less(best_key, key, ">") : less(key, best_key))) continue;
    best = item;
    best_key = std::move(key);
  }
  return best.is_missing() ? undefined_hint("No aggregated item, sequence was empty.") : best;
}
Value minimum(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  return extreme(evaluator, value, arguments, false);
}
Value maximum(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  return extreme(evaluator, value, arguments, true);
}

Value sum(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("sum", arguments, {"attribute", "start"});
  const AttributePath path(evaluator, given.value(0, Value::none()));
  Value total = given.value(1, Value::integer(0));
  if (total.is_string()) raise("sum() can't sum strings [use ''.join(seq) instead]");
  const auto walk = iterate(value);
  for (Value item; walk->next(item);) {
    evaluator.budget().charge(kWorkOfANode);
    total = add(total, path.get(item), evaluator.budget());
  }
  return total;
}

constexpr Filter kFilters[] = {
    {"count", length},    {"dictsort", sort_dict}, {"first", first}, {"groupby", group}, {"join", join},
    {"last", last},       {"length", length},      {"list", list},   {"max", maximum},   {"min", minimum},
    {"reverse", reverse}, {"sort", sort},          {"sum", sum},
};

}  // namespace

std::span<const Filter> sequence_filters() { return kFilters; }

Value ignore_case(const Value& value) { return value.is_string() ? Value::string(lower(value.as_string())) : value; }

}  // namespace octavo::text::jinja
