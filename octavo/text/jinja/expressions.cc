// Expressions: operators, lookups, calls.
#include "octavo/text/jinja/builtins.h"
#include "octavo/text/jinja/compare.h"
#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/instances.h"
#include "octavo/text/jinja/operators.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"

namespace octavo::text::jinja {
namespace {

bool hashable(const Value& value) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kDict:
    case Kind::kView: return false;
    case Kind::kTuple:
      for (const Value& item : value.items()) {
        if (!hashable(item)) return false;
      }
      return true;
    default: return true;
  }
}

// The item of a string, list, tuple or range; missing beyond its ends.
Value element(const Value& sequence, std::int64_t index) {
  if (sequence.is_string()) {
    const std::string_view text = sequence.as_string();
    if (sequence.is_ascii()) {
      const auto size = static_cast<std::int64_t>(text.size());
      if (index < 0) index += size;
      if (index < 0 || index >= size) return {};
      return Value::string(std::string(1, text[static_cast<std::size_t>(index)]));
    }
    const std::int64_t size = length_of(sequence);
    if (index < 0) index += size;
    if (index < 0 || index >= size) return {};
    const std::string_view rest = text.substr(byte_of_char(text, static_cast<std::size_t>(index)));
    return Value::string(std::string(rest.substr(0, byte_of_char(rest, 1))));
  }
  const std::int64_t size = length_of(sequence);
  if (index < 0) index += size;
  if (index < 0 || index >= size) return {};
  if (sequence.is(Kind::kRange)) return Value::integer(sequence.get<RangeObject>().at(index));
  return sequence.items()[static_cast<std::size_t>(index)];
}

// object[key] by Python's own rules; missing where it raises TypeError or LookupError.
Value subscript(const Value& object, const Value& key, Budget& budget) {
  switch (object.kind()) {
    case Kind::kDict: {
      if (!hashable(key)) return {};
      budget.charge(key.extent().weight);
      const Value* found = as_dict(object).find(key);
      return found == nullptr ? Value() : *found;
    }
    case Kind::kString: budget.charge(object.is_ascii() ? 1 : object.as_string().size() / 8); [[fallthrough]];
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange: return key.is_integral() ? element(object, key.as_integer()) : Value();
    default: return {};
  }
}

// getattr(object, name) as the sandbox allows it; missing where there is no such attribute.
Value python_attribute(const Value& object, std::string_view name) {
  if (object.is(Kind::kInstance)) return object.get<Instance>().attribute(object, name);
  return builtin_attribute(object, name);
}

}  // namespace

Value Evaluator::evaluate(const Expr& node) {
  if (node.kind == ExprKind::kConst) return node.constant;
  const Budget::Nested nested(budget_);
  budget_.charge(kWorkOfANode);
  switch (node.kind) {
    case ExprKind::kName: {
      const Value& value = slot(node);
      return value.is_missing() ? undefined_variable(node.text) : value;
    }
    case ExprKind::kCaptured: return captured_;
    case ExprKind::kTuple:
    case ExprKind::kList: {
      std::vector<Value> items;
      items.reserve(node.children.size());
      for (const ExprPtr& child : node.children) items.push_back(evaluate(*child));
      budget_.charge(items.size() * sizeof(Value));
      line_ = node.line;
      return node.kind == ExprKind::kList ? Value::list(std::move(items)) : Value::tuple(std::move(items));
    }
    case ExprKind::kDict: {
      const auto dict = std::make_shared<DictObject>();
      for (std::size_t i = 0; i < node.children.size(); i += 2) {
        Value key = evaluate(*node.children[i]);
        Value value = evaluate(*node.children[i + 1]);
        line_ = node.line;
        budget_.charge(4 * kWorkOfANode + key.extent().weight);
        dict->set(std::move(key), std::move(value));
      }
      return make_dict(dict);
    }
    case ExprKind::kUnary: {
      const Value value = evaluate(*node.children.front());
      line_ = node.line;
      if (node.op == Op::kNot) return Value::boolean(!truthy(value));
      return negate(value, node.op == Op::kNegative);
    }
    case ExprKind::kBinary: return binary(node);
    case ExprKind::kConcat: return concatenate(node);
    case ExprKind::kCompare: return compare_chain(node);
    case ExprKind::kCondition:
      if (truthy(evaluate(*node.children[0]))) return evaluate(*node.children[1]);
      if (node.children[2] != nullptr) return evaluate(*node.children[2]);
      return undefined_hint(fmt::format(
          "the inline if-expression on line {} evaluated to false and no else section was defined.", node.line));
    case ExprKind::kAttribute: {
      const Value object = evaluate(*node.children.front());
      line_ = node.line;
      return attribute(object, node.constant);
    }
    case ExprKind::kItem: {
      const Value object = evaluate(*node.children[0]);
      const Value key = evaluate(*node.children[1]);
      line_ = node.line;
      return item(object, key);
    }
    case ExprKind::kSlice: return cut(node);
    case ExprKind::kFilter: {
      const Value input = evaluate(*node.children.front());
      const Arguments given = arguments(*node.call);
      line_ = node.line;
      if (node.filter == nullptr) raise("{}", unknown_filter(node.text));
      return node.filter(*this, input, given);
    }
    case ExprKind::kTest: {
      const Value input = evaluate(*node.children.front());
      const Arguments given = arguments(*node.call);
      line_ = node.line;
      if (node.test == nullptr) raise("{}", unknown_test(node.text));
      return Value::boolean(node.test(*this, input, given));
    }
    case ExprKind::kCall: return call_node(node, nullptr);
    case ExprKind::kConst:
    case ExprKind::kMember: break;
  }
  return {};
}

Value Evaluator::binary(const Expr& node) {
  const Value left = evaluate(*node.children[0]);
  if (node.op == Op::kAnd) return truthy(left) ? evaluate(*node.children[1]) : left;
  if (node.op == Op::kOr) return truthy(left) ? left : evaluate(*node.children[1]);
  const Value right = evaluate(*node.children[1]);
  line_ = node.line;
  return calculate(node.op, left, right, *this);
}

Value Evaluator::concatenate(const Expr& node) {
  // All are evaluated before the first is printed, as in jinja2.
  std::vector<Value> parts;
  for (const ExprPtr& child : node.children) parts.push_back(evaluate(*child));
  line_ = node.line;
  std::string text;
  for (const Value& part : parts) {
    text += to_text(part, budget_);
    budget_.check_size(text.size());
  }
  return Value::string(std::move(text));
}

Value Evaluator::compare_chain(const Expr& node) {
  Value left = evaluate(*node.children[0]);
  for (std::size_t i = 0; i < node.ops.size(); ++i) {
    Value right = evaluate(*node.children[i + 1]);
    line_ = node.line;
    if (!compare(node.ops[i], left, right, budget_)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Evaluator::cut(const Expr& node) {
  const Value object = evaluate(*node.children[0]);
  Value bounds[3];
  const Value* given[3] = {nullptr, nullptr, nullptr};
  for (std::size_t i = 0; i < 3; ++i) {
    if (node.children[i + 1] == nullptr) continue;
    bounds[i] = evaluate(*node.children[i + 1]);
    given[i] = &bounds[i];
  }
  line_ = node.line;
  return slice(object, given[0], given[1], given[2], budget_);
}

Value Evaluator::attribute(const Value& object, const Value& name) {
  if (object.is_undefined()) raise_undefined(object);
  Value found = python_attribute(object, name.as_string());
  if (found.is_missing()) found = subscript(object, name, budget_);
  return found.is_missing() ? undefined_member(object, name) : found;
}

Value Evaluator::item(const Value& object, const Value& key) {
  if (object.is_undefined()) raise_undefined(object);
  Value found = subscript(object, key, budget_);
  if (found.is_missing() && key.is_string()) found = python_attribute(object, key.as_string());
  return found.is_missing() ? undefined_member(object, key) : found;
}

Value Evaluator::call(const Value& function, const Arguments& given) {
  if (function.is_undefined()) raise_undefined(function);
  if (!function.is(Kind::kInstance)) raise("'{}' object is not callable", type_name(function));
  return function.get<Instance>().call(*this, given);
}

Value Evaluator::call_node(const Expr& node, const Value* caller) {
  const Value function = evaluate(*node.children.front());
  Arguments given = arguments(*node.call);
  if (caller != nullptr) {
    for (const auto& [name, value] : given.named) {
      if (name == "caller") raise("got multiple values for keyword argument 'caller'");
    }
    given.named.emplace_back("caller", *caller);
  }
  line_ = node.line;
  return call(function, given);
}

Arguments Evaluator::arguments(const CallArguments& call) {
  Arguments given;
  given.positional.reserve(call.positional.size());
  for (const ExprPtr& argument : call.positional) given.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : call.named) given.named.emplace_back(name, evaluate(*argument));
  if (call.spread != nullptr) {
    for (Value& item : collect(evaluate(*call.spread), budget_)) given.positional.push_back(std::move(item));
  }
  if (call.spread_named != nullptr) {
    const Value named = evaluate(*call.spread_named);
    if (!named.is(Kind::kDict)) raise("argument after ** must be a mapping, not {}", type_name(named));
    for (const auto& [key, value] : as_dict(named).entries()) {
      if (!key.is_string()) raise("keywords must be strings");
      for (const auto& [name, other] : given.named) {
        if (name == key.as_string()) raise("got multiple values for keyword argument '{}'", name);
      }
      budget_.charge(kWorkOfANode + given.named.size());
      given.named.emplace_back(key.as_string(), value);
    }
  }
  return given;
}

Value Evaluator::call_filter(std::string_view name, const Value& input, const Arguments& given) {
  const FilterFunction filter = find_filter(name);
  if (filter == nullptr) raise("{}", unknown_filter(name));
  budget_.charge(kWorkOfANode);
  const Budget::Nested nested(budget_);
  return filter(*this, input, given);
}

bool Evaluator::call_test(std::string_view name, const Value& input, const Arguments& given) {
  const TestFunction test = find_test(name);
  if (test == nullptr) raise("{}", unknown_test(name));
  budget_.charge(kWorkOfANode);
  return test(*this, input, given);
}

std::tm Evaluator::now() const {
  if (now_) return *now_;
  const std::time_t seconds = std::time(nullptr);
  std::tm local{};
  localtime_r(&seconds, &local);
  return local;
}

}  // namespace octavo::text::jinja
