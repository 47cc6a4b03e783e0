// Filters that give generators: their work is done as their items are asked for, as in Python.
#include <functional>
#include <utility>

#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/filters.h"
#include "octavo/text/jinja/operators.h"
#include "octavo/text/jinja/parameters.h"
#include "octavo/text/jinja/print.h"

namespace octavo::text::jinja {
namespace {

// A generator function: its body starts at the first item, and an error ends it.
class Generator final : public Iterator {
 public:
  using Next = std::function<bool(Value&)>;
  explicit Generator(std::function<Next()> start) : start_(std::move(start)) {}
  bool next(Value& out) override {
    if (ended_) return false;
    ended_ = true;  // should what follows raise
    if (!next_) next_ = start_();
    ended_ = !next_(out);
    if (ended_) next_ = nullptr;
    return !ended_;
  }

 private:
  std::function<Next()> start_;
  Next next_;
  bool ended_ = false;
};

Value generate(const Value& input, const Arguments& arguments, std::function<Generator::Next()> start) {
  auto generator = std::make_shared<Generator>(std::move(start));
  generator->extent.add(input.extent());
  for (const Value& argument : arguments.positional) generator->extent.add(argument.extent());
  for (const auto& [name, argument] : arguments.named) generator->extent.add(argument.extent());
  return make_iterator(std::move(generator));
}

bool nothing(Value&) { return false; }

// What map() does to an item.
std::function<Value(const Value&)> mapping(Evaluator& evaluator, Arguments arguments) {
  if (arguments.positional.empty()) {
    Value attribute, otherwise;
    for (const auto& [name, value] : arguments.named) {
      if (name == "attribute") {
        attribute = value;
      } else if (name == "default") {
        otherwise = value;
      } else if (!attribute.is_missing()) {
        raise("Unexpected keyword argument '{}'", name);
      }
    }
    if (attribute.is_missing()) raise("map requires a filter argument");
    return [path = AttributePath(evaluator, attribute, otherwise)](const Value& item) { return path.get(item); };
  }
  if (!arguments.positional.front().is_string()) raise("map needs the name of a filter");
  const std::string name = arguments.positional.front().as_string();
  arguments.positional.erase(arguments.positional.begin());
  return [&evaluator, name, arguments = std::move(arguments)](const Value& item) {
    return evaluator.call_filter(name, item, arguments);
  };
}

Value map(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  return generate(value, arguments, [&evaluator, value, arguments]() -> Generator::Next {
    if (!truthy(value)) return nothing;
    return [&evaluator, walk = iterate(value), change = mapping(evaluator, arguments)](Value& out) {
      const Budget::Nested nested(evaluator.budget());
      Value item;
      if (!walk->next(item)) return false;
      out = change(item);
      return true;
    };
  });
}

// What select() and its kin ask of an item.
std::function<bool(const Value&)> question(Evaluator& evaluator, Arguments arguments, bool of_attribute) {
  std::function<Value(const Value&)> subject = [](const Value& item) { return item; };
  if (of_attribute) {
    if (arguments.positional.empty()) raise("Missing parameter for attribute name");
    subject = [path = AttributePath(evaluator, arguments.positional.front())](const Value& item) {
      return path.get(item);
    };
    arguments.positional.erase(arguments.positional.begin());
  }
  if (arguments.positional.empty()) return [subject](const Value& item) { return truthy(subject(item)); };
  if (!arguments.positional.front().is_string()) raise("the name of a test must be a string");
  const std::string name = arguments.positional.front().as_string();
  arguments.positional.erase(arguments.positional.begin());
  return [&evaluator, name, subject, arguments = std::move(arguments)](const Value& item) {
    return evaluator.call_test(name, subject(item), arguments);
  };
}

template <bool kWanted, bool kOfAttribute>
Value choose(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  return generate(value, arguments, [&evaluator, value, arguments]() -> Generator::Next {
    if (!truthy(value)) return nothing;
    return [&evaluator, walk = iterate(value), ask = question(evaluator, arguments, kOfAttribute)](Value& out) {
      const Budget::Nested nested(evaluator.budget());
      while (walk->next(out)) {
        evaluator.budget().charge(kWorkOfANode);
        if (ask(out) == kWanted) return true;
      }
      return false;
    };
  });
}

Value unique(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("unique", arguments, {"case_sensitive", "attribute"});
  const bool exact = given.flag(0, false);
  const Value attribute = given.value(1, Value::none());
  return generate(value, arguments, [&evaluator, value, exact, attribute]() -> Generator::Next {
    return [&evaluator, walk = iterate(value), exact, path = AttributePath(evaluator, attribute),
            seen = std::make_shared<DictObject>()](Value& out) {
      const Budget::Nested nested(evaluator.budget());
      while (walk->next(out)) {
        Value key = exact ? path.get(out) : ignore_case(path.get(out));
        evaluator.budget().charge(4 * kWorkOfANode + key.extent().weight);
        if (seen->find(key) != nullptr) continue;
        seen->set(std::move(key), Value::none());
        return true;
      }
      return false;
    };
  });
}

Value items(Evaluator&, const Value& value, const Arguments& arguments) {
  const Parameters none("items", arguments, {});
  return generate(value, arguments, [value]() -> Generator::Next {
    if (value.is_undefined()) return nothing;
    if (!value.is(Kind::kDict)) raise("Can only get item pairs from a mapping.");
    return [walk = iterate(make_view(ViewObject::Of::kItems, value))](Value& out) { return walk->next(out); };
  });
}

Value batch(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("batch", arguments, {"linecount", "fill_with"}, 1);
  const Value line_count = given.at(0), fill = given.value(1, Value::none());
  return generate(value, arguments, [&evaluator, value, line_count, fill]() -> Generator::Next {
    // The first item of a line is taken when the line before it is full.
    struct State {
      std::shared_ptr<Iterator> walk;
      std::vector<Value> line;
      bool ended = false;
    };
    const auto state = std::make_shared<State>(State{iterate(value), {}, false});
    return [&evaluator, line_count, fill, state](Value& out) {
      const Budget::Nested nested(evaluator.budget());
      const auto full = [&] {
        return line_count.is_number() && !line_count.is(Kind::kBigInt) &&
               (line_count.is_float() ? static_cast<double>(state->line.size()) == line_count.as_float()
                                      : static_cast<std::int64_t>(state->line.size()) == line_count.as_integer());
      };
      for (Value item; !state->ended && (state->walk->next(item) || !(state->ended = true));) {
        evaluator.budget().charge(2 * kWorkOfANode);
        std::vector<Value> done;
        const bool complete = full();
        if (complete) done.swap(state->line);
        state->line.push_back(std::move(item));
        if (!complete) continue;
        out = Value::list(std::move(done));
        return true;
      }
      if (state->line.empty()) return false;
      std::vector<Value> rest;
      rest.swap(state->line);
      if (!fill.is_none()) {
        const std::int64_t wanted = demand_integer(line_count, "batch");
        if (wanted > static_cast<std::int64_t>(rest.size())) {
          evaluator.budget().charge_allocation(static_cast<std::uint64_t>(std::min<std::int64_t>(wanted, INT32_MAX)) *
                                               sizeof(Value));
          rest.resize(static_cast<std::size_t>(wanted), fill);
        }
      }
      out = Value::list(std::move(rest));
      return true;
    };
  });
}

Value slice_into(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("slice", arguments, {"slices", "fill_with"}, 1);
  const Value count = given.at(0), fill = given.value(1, Value::none());
  return generate(value, arguments, [&evaluator, value, count, fill]() -> Generator::Next {
    const auto items = std::make_shared<std::vector<Value>>(collect(value, evaluator.budget()));
    const std::int64_t slices = demand_integer(count, "slice");
    if (slices == 0) raise("integer division or modulo by zero");
    const auto size = static_cast<std::int64_t>(items->size());
    return [&evaluator, items, slices, fill, size, number = std::int64_t{0}](Value& out) mutable {
      if (number >= slices) return false;  // none at all of a negative count
      const std::int64_t each = size / slices, longer = size % slices;
      const std::int64_t begin = number * each + std::min(number, longer);
      const std::int64_t end = begin + each + (number < longer ? 1 : 0);
      std::vector<Value> part(items->begin() + begin, items->begin() + end);
      if (!fill.is_none() && number >= longer) part.push_back(fill);
      evaluator.budget().charge(4 * kWorkOfANode + part.size() * sizeof(Value));
      ++number;
      out = Value::list(std::move(part));
      return true;
    };
  });
}

constexpr Filter kFilters[] = {
    {"batch", batch},
    {"items", items},
    {"map", map},
    {"reject", choose<false, false>},
    {"rejectattr", choose<false, true>},
    {"select", choose<true, false>},
    {"selectattr", choose<true, true>},
    {"slice", slice_into},
    {"unique", unique},
};

}  // namespace

std::span<const Filter> lazy_filters() { return kFilters; }

}  // namespace octavo::text::jinja
