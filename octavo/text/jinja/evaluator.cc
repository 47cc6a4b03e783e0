// Statements, frames and macros.
#include "octavo/text/jinja/evaluator.h"

#include <algorithm>

#include "octavo/text/jinja/builtins.h"
#include "octavo/text/jinja/instances.h"
#include "octavo/text/jinja/print.h"

namespace octavo::text::jinja {

// A frame of a scope, current while this lives.
class Evaluator::Entered {
 public:
  Entered(Evaluator& evaluator, const Scope& scope, const Frame* outer) : evaluator_(evaluator) {
    evaluator_.budget_.charge(kWorkOfANode + scope.loads.size() * sizeof(Value));
    if (scope.captured) {
      // Functions made in here may be called after it is left.
      evaluator_.kept_frames_.push_back(std::make_unique<Frame>());
      frame_ = evaluator_.kept_frames_.back().get();
    }
    frame_->outer = outer;
    frame_->slots.resize(scope.loads.size());
    previous_ = std::exchange(evaluator_.frame_, frame_);
  }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;
  ~Entered() { evaluator_.frame_ = previous_; }
  Frame& frame() { return *frame_; }

 private:
  Evaluator& evaluator_;
  Frame local_;
  Frame* frame_ = &local_;
  Frame* previous_;
};

namespace {

// Sends output elsewhere while it lives.
class Redirected {
 public:
  Redirected(std::string*& place, std::string& to) : place_(place), previous_(std::exchange(place, &to)) {}
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;
  ~Redirected() { place_ = previous_; }

 private:
  std::string*& place_;
  std::string* previous_;
};

}  // namespace

// The items that pass the `if` of a loop, tested one by one as the loop asks for them.
class FilteredIterator final : public Iterator {
 public:
  FilteredIterator(Evaluator& evaluator, const Stmt& node, std::shared_ptr<Iterator> all, const Frame* outer)
      : evaluator_(evaluator), node_(node), all_(std::move(all)), outer_(outer) {}
  bool next(Value& out) override {
    while (all_ != nullptr && all_->next(out)) {
      evaluator_.budget_.charge(kWorkOfANode);
      Evaluator::Entered entered(evaluator_, *node_.test_scope, outer_);
      evaluator_.load(*node_.test_scope, entered.frame());
      evaluator_.assign(*node_.targets.front(), out);
      if (truthy(evaluator_.evaluate(*node_.test))) return true;
    }
    return false;
  }
  void finish() { all_ = nullptr; }  // the frames around it end

 private:
  Evaluator& evaluator_;
  const Stmt& node_;
  std::shared_ptr<Iterator> all_;
  const Frame* outer_;
};

// A macro or the caller of a call block: a function and the frame it was made in.
class MacroInstance final : public Instance {
 public:
  MacroInstance(const Stmt& node, const Frame* outer) : node_(node), outer_(outer) {}
  std::string type_name() const override { return "jinja2.runtime.Macro"; }
  std::string repr(Budget&) const override {
    const std::string& name = node_.signature->name;
    return name.empty() ? "<Macro anonymous>" : fmt::format("<Macro {}>", repr_of_string(name));
  }
  bool callable() const override { return true; }
  Value call(Evaluator& evaluator, const Arguments& arguments) const override {
    return evaluator.call_macro(node_, outer_, arguments);
  }
  Value attribute(const Value&, std::string_view name) const override {
    const Signature& signature = *node_.signature;
    if (name == "name") return signature.name.empty() ? Value::none() : Value::string(signature.name);
    if (name == "catch_kwargs") return Value::boolean(signature.kwargs >= 0);
    if (name == "catch_varargs") return Value::boolean(signature.varargs >= 0);
    if (name == "caller") return Value::boolean(signature.caller >= 0);
    if (name != "arguments") return {};
    std::vector<Value> names;
    for (const ExprPtr& parameter : signature.parameters) names.push_back(Value::string(parameter->text));
    return Value::tuple(std::move(names));
  }

 private:
  const Stmt& node_;
  const Frame* outer_;
};

Evaluator::~Evaluator() {
  // Namespaces may hold each other; emptied one by one, none frees a chain of others.
  for (const auto& instance : kept_) instance->clear();
  for (const auto& frame : kept_frames_) frame->slots.clear();
}

std::string Evaluator::run() {
  std::string text;
  const Redirected redirected(out_, text);
  Entered entered(*this, *program_.scope, nullptr);
  root_ = &entered.frame();
  load(*program_.scope, *root_);
  execute(program_.body);
  return text;
}

void Evaluator::keep(std::shared_ptr<Instance> instance) {
  budget_.charge(8 * kWorkOfANode);  // it stays until the end
  kept_.push_back(std::move(instance));
}

void Evaluator::write(std::string_view text) {
  budget_.charge(text.size());
  budget_.check_size(out_->size() + text.size());
  *out_ += text;
}

// What a filter or call block gives; jinja2 does not turn it into a string.
void Evaluator::write_string(const Value& value) {
  if (!value.is_string()) raise("expected str instance, {} found", type_name(value));
  write(value.as_string());
}

// ---- frames

void Evaluator::load(const Scope& scope, Frame& frame) {
  for (std::size_t i = 0; i < scope.loads.size(); ++i) {
    const Load& from = scope.loads[i];
    switch (from.from) {
      case Load::From::kParameter: break;
      case Load::From::kContext: frame.slots[i] = resolve(from.name); break;
      case Load::From::kNothing: frame.slots[i] = Value(); break;
      case Load::From::kOuter: {
        const Frame* outer = &frame;
        for (int hops = from.hops; hops > 0; --hops) outer = outer->outer;
        frame.slots[i] = outer->slots[static_cast<std::size_t>(from.slot)];
      }
    }
  }
}

Value Evaluator::resolve(const std::string& name) const {
  if (root_ != nullptr) {
    // Only a {% block %} comes here for what the top level has set; everything else sees its frame.
    for (const auto& [exported, slot] : program_.scope->exported) {
      const Value& value = root_->slots[static_cast<std::size_t>(slot)];
      if (exported == name && !value.is_missing()) return value;
    }
  }
  if (const auto at = variables_.find(name); at != variables_.end()) return at->second;
  return find_global(name).value_or(Value());
}

const Value& Evaluator::slot(const Expr& name) const {
  const Frame* frame = frame_;
  for (int hops = name.hops; hops > 0; --hops) frame = frame->outer;
  return frame->slots[static_cast<std::size_t>(name.slot)];
}

void Evaluator::assign(const Expr& target, const Value& value) {
  if (target.kind == ExprKind::kName) {
    frame_->slots[static_cast<std::size_t>(target.slot)] = value;
    return;
  }
  line_ = target.line;
  if (target.kind == ExprKind::kMember) {
    NamespaceInstance* fields = as_namespace(slot(target));
    if (fields == nullptr) raise("cannot assign attribute on non-namespace object");
    return fields->set(target.attribute, value);
  }
  const std::vector<Value> items = collect(value, budget_);
  const std::size_t wanted = target.children.size();
  if (items.size() < wanted) raise("not enough values to unpack (expected {}, got {})", wanted, items.size());
  if (items.size() > wanted) raise("too many values to unpack (expected {})", wanted);
  for (std::size_t i = 0; i < wanted; ++i) assign(*target.children[i], items[i]);
}

// ---- statements

Evaluator::Flow Evaluator::execute(const Body& body) {
  for (const auto& statement : body) {
    const Flow flow = execute(*statement);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::execute(const Stmt& node) {
  const Budget::Nested nested(budget_);
  budget_.charge(kWorkOfANode);
  line_ = node.line;
  switch (node.kind) {
    case StmtKind::kOutput:
      for (const ExprPtr& value : node.values) {
        if (value->kind == ExprKind::kConst && value->constant.is_string()) {
          write(value->constant.as_string());
        } else {
          write(to_text(evaluate(*value), budget_));
        }
      }
      return Flow::kNormal;
    case StmtKind::kIf: return run_if(node);
    case StmtKind::kFor: return run_for(node);
    case StmtKind::kSet: assign(*node.targets.front(), evaluate(*node.values.front())); return Flow::kNormal;
    case StmtKind::kSetBlock:
    case StmtKind::kFilterBlock:
    case StmtKind::kGeneration: return run_captured(node);
    case StmtKind::kWith: return run_with(node);
    case StmtKind::kMacro:
      assign(*node.targets.front(), make_instance(std::make_shared<MacroInstance>(node, frame_)));
      return Flow::kNormal;
    case StmtKind::kCallBlock: run_call_block(node); return Flow::kNormal;
    case StmtKind::kScope: {
      Entered entered(*this, *node.scope, node.isolated ? nullptr : frame_);
      load(*node.scope, entered.frame());
      return execute(node.bodies.front());
    }
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::run_if(const Stmt& node) {
  for (std::size_t i = 0; i < node.values.size(); ++i) {
    if (truthy(evaluate(*node.values[i]))) return execute(node.bodies[i]);
  }
  return node.has_else ? execute(node.bodies.back()) : Flow::kNormal;
}

Evaluator::Flow Evaluator::run_for(const Stmt& node) {
  const Value iterable = evaluate(*node.values.front());
  line_ = node.line;
  if (!node.recursive) return run_loop(node, iterable, frame_, 0);
  std::string text;
  {
    const Redirected redirected(out_, text);
    run_loop(node, iterable, frame_, 0);
  }
  write(text);
  return Flow::kNormal;
}

// The flow is that of the else: a break within the body ends here.
Evaluator::Flow Evaluator::run_loop(const Stmt& node, const Value& iterable, Frame* outer, int depth) {
  std::shared_ptr<Iterator> walk = iterate(iterable);
  std::shared_ptr<FilteredIterator> filtered;
  if (node.test != nullptr) {
    filtered = std::make_shared<FilteredIterator>(*this, node, std::move(walk), outer);
    walk = filtered;
  }
  std::shared_ptr<LoopInstance> loop;
  if (node.loop_slot >= 0) {
    const std::int64_t length = node.test == nullptr ? length_of(iterable) : -1;
    LoopInstance::Recurse recurse;
    if (node.recursive) {
      recurse = [this, &node, outer](const Value& inner, int inner_depth) {
        const Budget::Nested nested(budget_);
        std::string text;
        const Redirected redirected(out_, text);
        run_loop(node, inner, outer, inner_depth);
        return Value::string(std::move(text));
      };
    }
    loop = std::make_shared<LoopInstance>(budget_, walk, iterable, length, std::move(recurse), depth);
  }
  // After the loop its frames are gone: what has kept `loop` finds it at its end.
  struct Finish {
    FilteredIterator* filtered;
    LoopInstance* loop;
    ~Finish() {
      if (filtered != nullptr) filtered->finish();
      if (loop != nullptr) loop->clear();
    }
  } const finish{filtered.get(), loop.get()};

  bool ran = false;
  {
    Entered entered(*this, *node.scope, outer);
    Value item;
    while (loop != nullptr ? loop->advance(item) : walk->next(item)) {
      budget_.charge(kWorkOfANode);
      assign(*node.targets.front(), item);
      if (loop != nullptr) entered.frame().slots[static_cast<std::size_t>(node.loop_slot)] = make_instance(loop);
      load(*node.scope, entered.frame());
      const Flow flow = execute(node.bodies.front());
      if (flow == Flow::kBreak) break;
      // jinja2 notes that the loop has run at the end of its body, which a `continue` does not reach.
      if (flow == Flow::kNormal) ran = true;
    }
  }
  if (ran || !node.has_else) return Flow::kNormal;
  Entered entered(*this, *node.else_scope, outer);
  load(*node.else_scope, entered.frame());
  return execute(node.bodies.back());
}

// Set blocks, filter blocks and generation blocks: the body's output is gathered.
Evaluator::Flow Evaluator::run_captured(const Stmt& node) {
  std::string text;
  Value result;
  {
    Entered entered(*this, *node.scope, frame_);
    load(*node.scope, entered.frame());
    Flow flow = Flow::kNormal;
    {
      const Redirected redirected(out_, text);
      flow = execute(node.bodies.front());
    }
    if (flow != Flow::kNormal) return flow;  // what was gathered is lost, as in jinja2
    result = Value::string(std::move(text));
    if (node.filter != nullptr) {
      captured_ = std::move(result);
      result = evaluate(*node.filter);
    }
  }
  if (node.kind == StmtKind::kSetBlock) {
    assign(*node.targets.front(), result);
  } else {
    write_string(result);
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::run_with(const Stmt& node) {
  Frame* outer = frame_;
  Entered entered(*this, *node.scope, outer);
  load(*node.scope, entered.frame());
  for (std::size_t i = 0; i < node.targets.size(); ++i) {
    frame_ = outer;  // the values see what is outside
    const Value value = evaluate(*node.values[i]);
    frame_ = &entered.frame();
    assign(*node.targets[i], value);
  }
  return execute(node.bodies.front());
}

void Evaluator::run_call_block(const Stmt& node) {
  const Value caller = make_instance(std::make_shared<MacroInstance>(node, frame_));
  write_string(call_node(*node.values.front(), &caller));
}

// jinja2.runtime.Macro.__call__.
Value Evaluator::call_macro(const Stmt& node, const Frame* outer, const Arguments& given) {
  const Budget::Nested nested(budget_);
  const Signature& signature = *node.signature;
  const std::size_t count = signature.parameters.size();
  Entered entered(*this, *node.scope, outer);
  auto& slots = entered.frame().slots;
  std::vector<std::pair<std::string, Value>> named = given.named;
  const auto take = [&](const std::string& name) {
    const auto at = std::find_if(named.begin(), named.end(), [&](const auto& pair) { return pair.first == name; });
    if (at == named.end()) return Value();
    Value value = std::move(at->second);
    named.erase(at);
    return value;
  };
  for (std::size_t i = 0; i < count; ++i) {
    const Expr& parameter = *signature.parameters[i];
    slots[static_cast<std::size_t>(parameter.slot)] =
        i < given.positional.size() ? given.positional[i] : take(parameter.text);
  }
  if (signature.caller >= 0) {
    Value caller = take("caller");
    if (caller.is_missing() || caller.is_none()) caller = undefined_hint("No caller defined");
    slots[static_cast<std::size_t>(signature.caller)] = std::move(caller);
  }
  const std::string shown = signature.name.empty() ? "None" : "'" + signature.name + "'";
  if (signature.kwargs >= 0) {
    const auto dict = std::make_shared<DictObject>();
    for (auto& [name, value] : named) dict->set(Value::string(name), std::move(value));
    slots[static_cast<std::size_t>(signature.kwargs)] = make_dict(dict);
  } else if (!named.empty()) {
    if (!take("caller").is_missing()) {
      raise("macro {} was invoked with two values for the special caller argument", shown);
    }
    raise("macro {} takes no keyword argument '{}'", shown, named.front().first);
  }
  if (signature.varargs >= 0) {
    std::vector<Value> rest;
    if (given.positional.size() > count) {
      rest.assign(given.positional.begin() + static_cast<std::ptrdiff_t>(count), given.positional.end());
    }
    slots[static_cast<std::size_t>(signature.varargs)] = Value::tuple(std::move(rest));
  } else if (given.positional.size() > count) {
    raise("macro {} takes not more than {} argument(s)", shown, count);
  }
  load(*node.scope, entered.frame());
  const std::size_t first_default = count - signature.defaults.size();
  for (std::size_t i = 0; i < count; ++i) {
    const Expr& parameter = *signature.parameters[i];
    Value& slot = slots[static_cast<std::size_t>(parameter.slot)];
    if (!slot.is_missing()) continue;
    slot = i < first_default ? undefined_hint(fmt::format("parameter '{}' was not provided", parameter.text))
                             : evaluate(*signature.defaults[i - first_default]);
  }
  std::string text;
  const Redirected redirected(out_, text);
  execute(node.bodies.front());
  return Value::string(std::move(text));
}

}  // namespace octavo::text::jinja
