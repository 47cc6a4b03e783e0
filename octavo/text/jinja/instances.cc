// loop, namespace, cycler, joiner.
#include "octavo/text/jinja/instances.h"

#include <algorithm>

#include "octavo/text/jinja/compare.h"
#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/parameters.h"
#include "octavo/text/jinja/print.h"

namespace octavo::text::jinja {

Value make_method(std::string_view name, const Value& self, MethodFunction function) {
  return make_instance(std::make_shared<MethodInstance>(name, self, function));
}

// ---- loop

LoopInstance::LoopInstance(Budget& budget, std::shared_ptr<Iterator> walk, const Value& iterable, std::int64_t length,
                           Recurse recurse, int depth)
    : budget_(budget), walk_(std::move(walk)), length_(length), recurse_(std::move(recurse)), depth0_(depth) {
  extent_.add(iterable.extent());
}

bool LoopInstance::advance(Value& item) {
  const Value next = peek();
  if (next.is_missing()) return false;
  ++next_ahead_;
  if (next_ahead_ == ahead_.size()) {
    ahead_.clear();
    next_ahead_ = 0;
  }
  ++index0_;
  before_ = std::exchange(current_, next);
  item = next;
  return true;
}

const Value& LoopInstance::peek() const {
  static const Value kEnd{};
  if (next_ahead_ < ahead_.size()) return ahead_[next_ahead_];
  Value item;
  if (ended_ || walk_ == nullptr || !walk_->next(item)) {
    ended_ = true;
    return kEnd;
  }
  ahead_.clear();
  next_ahead_ = 0;
  ahead_.push_back(std::move(item));
  return ahead_.back();
}

std::int64_t LoopInstance::length() const {
  if (length_ >= 0) return length_;
  for (Value item; !ended_ && walk_ != nullptr && walk_->next(item);) {
    budget_.charge(4 * kWorkOfANode);
    ahead_.push_back(std::move(item));
  }
  ended_ = true;
  length_ = index0_ + 1 + static_cast<std::int64_t>(ahead_.size() - next_ahead_);
  return length_;
}

void LoopInstance::clear() {
  walk_ = nullptr;
  last_changed_ = Value();
}

std::string LoopInstance::repr(Budget&) const { return fmt::format("<LoopContext {}/{}>", index0_ + 1, length()); }

Value LoopInstance::call(Evaluator&, const Arguments& arguments) const {
  const Parameters given("loop", arguments, {"iterable"}, 1);
  if (!recurse_) raise("The loop must have the 'recursive' marker to be called recursively.");
  return recurse_(given.at(0), depth0_ + 1);
}

Value LoopInstance::cycle(const Arguments& arguments) const {
  if (arguments.positional.empty()) raise("no items for cycling given");
  const auto count = static_cast<std::int64_t>(arguments.positional.size());
  return arguments.positional[static_cast<std::size_t>(std::max<std::int64_t>(index0_, 0) % count)];
}

Value LoopInstance::changed(const Arguments& arguments) const {
  const Value now = Value::tuple(arguments.positional);
  budget_.charge(now.extent().weight);
  if (!last_changed_.is_missing() && equal(last_changed_, now)) return Value::boolean(false);
  last_changed_ = now;
  return Value::boolean(true);
}

Value LoopInstance::attribute(const Value& self, std::string_view name) const {
  if (name == "index0") return Value::integer(index0_);
  if (name == "index") return Value::integer(index0_ + 1);
  if (name == "first") return Value::boolean(index0_ == 0);
  if (name == "last") return Value::boolean(peek().is_missing());
  if (name == "length") return Value::integer(length());
  if (name == "revindex") return Value::integer(length() - index0_);
  if (name == "revindex0") return Value::integer(length() - index0_ - 1);
  if (name == "depth") return Value::integer(depth0_ + 1);
  if (name == "depth0") return Value::integer(depth0_);
  if (name == "previtem") return index0_ == 0 ? undefined_hint("there is no previous item") : before_;
  if (name == "nextitem") {
    const Value& next = peek();
    return next.is_missing() ? undefined_hint("there is no next item") : next;
  }
  if (name == "cycle") {
    return make_method("cycle", self, [](Evaluator&, const Value& loop, const Arguments& arguments) {
      return loop.get<LoopInstance>().cycle(arguments);
    });
  }
  if (name == "changed") {
    return make_method("changed", self, [](Evaluator&, const Value& loop, const Arguments& arguments) {
      return loop.get<LoopInstance>().changed(arguments);
    });
  }
  return {};
}

// ---- namespace

std::string NamespaceInstance::repr(Budget& budget) const {
  std::string out = "<Namespace {";
  for (const auto& [name, value] : fields_) {
    if (out.back() != '{') out += ", ";
    out += repr_of_string(name) + ": " + to_repr(value, budget);
    budget.check_size(out.size());
  }
  return out + "}>";
}

Value NamespaceInstance::attribute(const Value&, std::string_view name) const {
  const auto at = std::find_if(fields_.begin(), fields_.end(), [&](const auto& field) { return field.first == name; });
  return at == fields_.end() ? Value() : at->second;
}

void NamespaceInstance::set(const std::string& name, const Value& value) {
  if (name.starts_with('_')) raise("a namespace cannot store '{}': names with a leading underscore are refused", name);
  const auto at = std::find_if(fields_.begin(), fields_.end(), [&](const auto& field) { return field.first == name; });
  if (at != fields_.end()) {
    at->second = value;
  } else {
    fields_.emplace_back(name, value);
  }
}

NamespaceInstance* as_namespace(const Value& value) {
  if (!value.is(Kind::kInstance)) return nullptr;
  // Made mutable by namespace(): it is there to be written to.
  return const_cast<NamespaceInstance*>(dynamic_cast<const NamespaceInstance*>(&value.get<Instance>()));
}

// ---- cycler and joiner

CyclerInstance::CyclerInstance(std::vector<Value> items) : items_(Value::tuple(std::move(items))) {
  if (items_.items().empty()) raise("at least one item has to be provided");
}

Value CyclerInstance::next() const {
  Value item = items_.items()[position_];
  position_ = (position_ + 1) % items_.items().size();
  return item;
}

Value CyclerInstance::attribute(const Value& self, std::string_view name) const {
  if (name == "current") return items_.items()[position_];
  if (name == "items") return items_;
  if (name == "pos") return Value::integer(static_cast<std::int64_t>(position_));
  if (name == "next") {
    return make_method("next", self, [](Evaluator&, const Value& cycler, const Arguments& arguments) {
      const Parameters none("next", arguments, {});
      return cycler.get<CyclerInstance>().next();
    });
  }
  if (name == "reset") {
    return make_method("reset", self, [](Evaluator&, const Value& cycler, const Arguments& arguments) {
      const Parameters none("reset", arguments, {});
      cycler.get<CyclerInstance>().reset();
      return Value::none();
    });
  }
  return {};
}

Value JoinerInstance::call(Evaluator&, const Arguments& arguments) const {
  const Parameters none("joiner", arguments, {});
  if (std::exchange(used_, true)) return separator_;
  return Value::string("");
}

Value JoinerInstance::attribute(const Value&, std::string_view name) const {
  if (name == "sep") return separator_;
  if (name == "used") return Value::boolean(used_);
  return {};
}

}  // namespace octavo::text::jinja
