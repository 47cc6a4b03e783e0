// Global functions: jinja2's own (range, dict, namespace, cycler, joiner) and those transformers adds
// (raise_exception, strftime_now).
#include <algorithm>

#include "octavo/text/jinja/builtins.h"
#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/instances.h"
#include "octavo/text/jinja/parameters.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/strftime.h"

namespace octavo::text::jinja {
namespace {

constexpr std::int64_t kMostOfARange = 100000;  // jinja2.sandbox.MAX_RANGE

Value range(Evaluator&, const Value&, const Arguments& arguments) {
  const Parameters given("range", arguments, {"", "", ""}, 1);
  const bool one = !given.has(1);
  const std::int64_t start = one ? 0 : given.integer(0, 0);
  const std::int64_t stop = one ? given.integer(0, 0) : given.integer(1, 0);
  const std::int64_t step = given.integer(2, 1);
  if (step == 0) raise("range() arg 3 must not be zero");
  Value made = make_range(start, stop, step);
  if (length_of(made) > kMostOfARange) {
    raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMostOfARange);
  }
  return made;
}

// dict(mapping or pairs, **named)
std::shared_ptr<DictObject> build_dict(std::string_view function, const Arguments& arguments, Budget& budget) {
  if (arguments.positional.size() > 1) {
    raise("{} expected at most 1 argument, got {}", function, arguments.positional.size());
  }
  const auto dict = std::make_shared<DictObject>();
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional.front();
    if (from.is(Kind::kDict)) {
      for (const auto& [key, value] : as_dict(from).entries()) {
        budget.charge(4 * kWorkOfANode);
        dict->set(key, value);
      }
    } else {
      const auto walk = iterate(from);
      for (Value item; walk->next(item);) {
        std::vector<Value> pair = collect(item, budget);
        if (pair.size() != 2) raise("dictionary update sequence element has length {}; 2 is required", pair.size());
        budget.charge(4 * kWorkOfANode + pair[0].extent().weight);
        dict->set(std::move(pair[0]), std::move(pair[1]));
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict->set(Value::string(name), value);
  return dict;
}

Value from_keys(Evaluator& evaluator, const Value&, const Arguments& arguments) {
  const Parameters given("fromkeys", arguments, {"", ""}, 1);
  const auto dict = std::make_shared<DictObject>();
  const auto walk = iterate(given.at(0));
  for (Value key; walk->next(key);) {
    evaluator.budget().charge(4 * kWorkOfANode + key.extent().weight);
    dict->set(std::move(key), given.value(1, Value::none()));
  }
  return make_dict(dict);
}

class DictFunction final : public Instance {
 public:
  std::string type_name() const override { return "type"; }
  std::string repr(Budget&) const override { return "<class 'dict'>"; }
  bool callable() const override { return true; }
  Value call(Evaluator& evaluator, const Arguments& arguments) const override {
    return make_dict(build_dict("dict", arguments, evaluator.budget()));
  }
  Value attribute(const Value& self, std::string_view name) const override {
    return name == "fromkeys" ? make_method(name, self, from_keys) : Value();
  }
};

Value make_namespace(Evaluator& evaluator, const Value&, const Arguments& arguments) {
  const auto made = std::make_shared<NamespaceInstance>();
  const auto fields = build_dict("namespace", arguments, evaluator.budget());
  for (const auto& [key, value] : fields->entries()) {
    if (!key.is_string()) raise("namespace() needs names that are strings, not {}", type_name(key));
    made->set(key.as_string(), value);
  }
  evaluator.keep(made);
  return make_instance(made);
}

Value cycler(Evaluator&, const Value&, const Arguments& arguments) {
  if (!arguments.named.empty()) raise("cycler() takes no keyword arguments");
  return make_instance(std::make_shared<CyclerInstance>(arguments.positional));
}

Value joiner(Evaluator&, const Value&, const Arguments& arguments) {
  const Parameters given("joiner", arguments, {"sep"});
  return make_instance(std::make_shared<JoinerInstance>(given.value(0, Value::string(", "))));
}

Value raise_exception(Evaluator& evaluator, const Value&, const Arguments& arguments) {
  const Parameters given("raise_exception", arguments, {"message"}, 1);
  raise("{}", to_text(given.at(0), evaluator.budget()));
}

Value strftime_now(Evaluator& evaluator, const Value&, const Arguments& arguments) {
  const Parameters given("strftime_now", arguments, {"format"}, 1);
  evaluator.budget().charge_allocation(32 * given.text(0).size());
  return Value::string(format_time(given.text(0), evaluator.now()));
}

}  // namespace

std::optional<Value> find_global(std::string_view name) {
  static constexpr struct {
    std::string_view name;
    MethodFunction function;
  } kFunctions[] = {{"range", range},   {"namespace", make_namespace},        {"cycler", cycler},
                    {"joiner", joiner}, {"raise_exception", raise_exception}, {"strftime_now", strftime_now}};
  for (const auto& known : kFunctions) {
    if (known.name == name) return make_method(known.name, Value::none(), known.function);
  }
  if (name == "dict") return make_instance(std::make_shared<DictFunction>());
  return std::nullopt;
}

}  // namespace octavo::text::jinja
