// Two passes over each scope: collect its variables in the order of the text, then bind its names and enter the
// scopes within.
#include "octavo/text/jinja/scope.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "octavo/text/jinja/builtins.h"

namespace octavo::text::jinja {
namespace {

// What is known of a name in one scope.
struct Symbol {
  int slot = 0;
  Load load;
  bool visible = false;  // referred to so far (in this branch)
  bool stored = false;
};

Load from_context(const std::string& name) { return {Load::From::kContext, name, 0, 0}; }

class Symbols {
 public:
  explicit Symbols(Symbols* parent) : parent_(parent) {}

  Symbols* parent() const { return parent_; }

  // The frames outwards and the slot of a name; nothing when no scope knows it.
  struct Place {
    int hops, slot;
  };
  std::optional<Place> find(const std::string& name) const {
    int hops = 0;
    for (const Symbols* scope = this; scope != nullptr; scope = scope->parent_, ++hops) {
      const auto at = scope->symbols_.find(name);
      if (at != scope->symbols_.end() && at->second.visible) return Place{hops, at->second.slot};
    }
    return std::nullopt;
  }

  void load(const std::string& name) {
    if (!find(name)) define(name, from_context(name));
  }

  void store(const std::string& name) {
    Symbol& symbol = change(name);
    symbol.stored = true;
    if (!symbol.visible) define(name, outer(name).value_or(Load{}));
  }

  int parameter(const std::string& name) {
    change(name).stored = true;
    define(name, Load{Load::From::kParameter, {}, 0, 0});
    return symbols_.at(name).slot;
  }

  // Each branch starts from what is known here; afterwards all that any of them has found is known.
  template <typename Visit>
  void branches(std::size_t count, const Visit& visit) {
    std::vector<std::map<std::string, Symbol>> found(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t mark = journal_.size();
      visit(i);
      for (std::size_t k = mark; k < journal_.size(); ++k) found[i][journal_[k].first] = symbols_.at(journal_[k].first);
      while (journal_.size() > mark) {
        symbols_[journal_.back().first] = journal_.back().second;
        journal_.pop_back();
      }
    }
    std::set<std::string> newly_stored;
    for (const auto& branch : found) {
      for (const auto& [name, symbol] : branch) {
        if (symbol.stored && !symbols_.at(name).stored) newly_stored.insert(name);
      }
    }
    for (const auto& branch : found) {
      for (const auto& [name, symbol] : branch) {
        const bool stored = symbols_.at(name).stored || symbol.stored;
        change(name) = symbol;
        symbols_.at(name).stored = stored;
      }
    }
    // A name that only some branches set has its outer value in the others.
    for (const std::string& name : newly_stored) {
      change(name).load = outer(name).value_or(from_context(name));
    }
  }

  std::vector<Load> loads() const {
    std::vector<Load> loads(static_cast<std::size_t>(slots_));
    for (const auto& [name, symbol] : symbols_) loads[static_cast<std::size_t>(symbol.slot)] = symbol.load;
    return loads;
  }
  std::vector<std::pair<std::string, int>> stored() const {
    std::vector<std::pair<std::string, int>> stored;
    for (const auto& [name, symbol] : symbols_) {
      if (symbol.stored) stored.emplace_back(name, symbol.slot);
    }
    return stored;
  }

 private:
  std::optional<Load> outer(const std::string& name) const {
    if (parent_ == nullptr) return std::nullopt;
    const auto place = parent_->find(name);
    if (!place) return std::nullopt;
    return Load{Load::From::kOuter, {}, place->hops + 1, place->slot};
  }

  void define(const std::string& name, Load load) {
    Symbol& symbol = change(name);
    symbol.visible = true;
    symbol.load = std::move(load);
  }

  // The symbol, whose state before is noted so that a branch can be undone.
  Symbol& change(const std::string& name) {
    const auto [at, added] = symbols_.try_emplace(name);
    if (added) at->second.slot = slots_++;
    journal_.emplace_back(name, at->second);
    return at->second;
  }

  Symbols* parent_;
  std::map<std::string, Symbol> symbols_;
  std::vector<std::pair<std::string, Symbol>> journal_;
  int slots_ = 0;
};

template <typename Visit>
void for_each_child(Expr& node, const Visit& visit) {
  for (const ExprPtr& child : node.children) {
    if (child != nullptr) visit(*child);
  }
  if (node.call == nullptr) return;
  for (const ExprPtr& argument : node.call->positional) visit(*argument);
  for (const auto& [name, argument] : node.call->named) visit(*argument);
  if (node.call->spread != nullptr) visit(*node.call->spread);
  if (node.call->spread_named != nullptr) visit(*node.call->spread_named);
}

// jinja2's find_undeclared: which of `names` the nodes read before they set them, in the order of the text.
class UndeclaredNames {
 public:
  explicit UndeclaredNames(std::set<std::string> names) : names_(std::move(names)) {}

  void visit(const Body& body) {
    for (const auto& statement : body) visit(*statement);
  }
  bool found(const std::string& name) const { return found_.contains(name); }

 private:
  void visit(Expr& node) {
    if (node.kind == ExprKind::kName) {
      if (!node.stores && names_.contains(node.text)) {
        found_.insert(node.text);
      } else {
        names_.erase(node.text);
      }
    }
    for_each_child(node, [&](Expr& child) { visit(child); });
  }
  void visit(const std::vector<ExprPtr>& nodes) {
    for (const ExprPtr& node : nodes) visit(*node);
  }
  void visit(const Stmt& node) {
    if (node.isolated) return;  // a block is on its own
    if (node.signature != nullptr) {
      visit(node.values);  // the call of a call block
      visit(node.signature->parameters);
      visit(node.signature->defaults);
    } else {
      visit(node.targets);
      if (node.kind == StmtKind::kIf) {
        for (std::size_t i = 0; i < node.bodies.size(); ++i) {
          if (i < node.values.size()) visit(*node.values[i]);
          visit(node.bodies[i]);
        }
        return;
      }
      visit(node.values);
      if (node.filter != nullptr) visit(*node.filter);
    }
    for (const Body& body : node.bodies) visit(body);
    if (node.test != nullptr) visit(*node.test);
  }

  std::set<std::string> names_;
  std::set<std::string> found_;
};

class Resolver {
 public:
  void run(Program& program) {
    Symbols symbols(nullptr);
    Scope* scope = open(program.scope, nullptr);
    collect(program.body, symbols);
    within(*scope, symbols, [&] { bind(program.body, symbols, false); });
    if (has_blocks_) scope->exported = symbols.stored();
  }

 private:
  // ---- the first pass: the variables of one scope, without those within it

  void collect(const Body& body, Symbols& symbols) {
    for (const auto& statement : body) collect(*statement, symbols);
  }

  void collect(Expr& node, Symbols& symbols) {
    if (node.kind == ExprKind::kName && node.stores) {
      symbols.store(node.text);
    } else if (node.kind == ExprKind::kName || node.kind == ExprKind::kMember) {
      symbols.load(node.text);
    }
    for_each_child(node, [&](Expr& child) { collect(child, symbols); });
  }

  void collect(Stmt& node, Symbols& symbols) {
    switch (node.kind) {
      case StmtKind::kIf: return collect_if(node, symbols);
      case StmtKind::kOutput:
      case StmtKind::kFor:
      case StmtKind::kWith:
      case StmtKind::kCallBlock:
        for (const ExprPtr& value : node.values) collect(*value, symbols);
        return;
      case StmtKind::kSet: collect(*node.values.front(), symbols); return collect(*node.targets.front(), symbols);
      case StmtKind::kSetBlock:
        if (node.filter != nullptr) collect(*node.filter, symbols);
        return collect(*node.targets.front(), symbols);
      case StmtKind::kMacro: return symbols.store(node.targets.front()->text);
      case StmtKind::kFilterBlock: return collect(*node.filter, symbols);
      default: return;
    }
  }

  // Each elif is jinja2's nested `if`: a branch of its own beside the body and the else.
  void collect_if(Stmt& node, Symbols& symbols) {
    collect(*node.values.front(), symbols);
    symbols.branches(3, [&](std::size_t branch) {
      if (branch == 0) return collect(node.bodies.front(), symbols);
      if (branch == 2) {
        if (node.has_else) collect(node.bodies.back(), symbols);
        return;
      }
      for (std::size_t i = 1; i < node.values.size(); ++i) {
        collect(*node.values[i], symbols);
        symbols.branches(1, [&](std::size_t) { collect(node.bodies[i], symbols); });
      }
    });
  }

  // ---- the second pass: names to slots, and the scopes within

  // `soft`: inside an `if`, where an unknown filter is an error only when it is reached.
  void bind(const Body& body, Symbols& symbols, bool soft) {
    for (const auto& statement : body) bind(*statement, symbols, soft);
  }

  void bind(Expr& node, Symbols& symbols, bool soft) {
    if (node.kind == ExprKind::kName || node.kind == ExprKind::kMember) {
      symbols.load(node.text);  // known already
      const auto place = symbols.find(node.text);
      node.hops = place->hops;
      node.slot = place->slot;
    } else if (node.kind == ExprKind::kFilter) {
      node.filter = find_filter(node.text);
      if (node.filter == nullptr && !soft) raise_at(node.line, "{}", unknown_filter(node.text));
    } else if (node.kind == ExprKind::kTest) {
      node.test = find_test(node.text);
      if (node.test == nullptr && !soft) raise_at(node.line, "{}", unknown_test(node.text));
    }
    const bool soft_within = soft || node.kind == ExprKind::kCondition;
    for_each_child(node, [&](Expr& child) { bind(child, symbols, soft_within); });
  }
  void bind(const std::vector<ExprPtr>& nodes, Symbols& symbols, bool soft) {
    for (const ExprPtr& node : nodes) bind(*node, symbols, soft);
  }

  void bind(Stmt& node, Symbols& symbols, bool soft) {
    switch (node.kind) {
      case StmtKind::kOutput:
      case StmtKind::kSet: bind(node.values, symbols, soft); return bind(node.targets, symbols, soft);
      case StmtKind::kIf:
        bind(node.values, symbols, true);
        for (const Body& body : node.bodies) bind(body, symbols, true);
        return;
      case StmtKind::kFor: return bind_for(node, symbols, soft);
      case StmtKind::kSetBlock: bind(node.targets, symbols, soft); return enter(node, symbols);
      case StmtKind::kFilterBlock: return enter(node, symbols);
      case StmtKind::kWith: return bind_with(node, symbols, soft);
      case StmtKind::kMacro: bind(node.targets, symbols, soft); return bind_function(node, symbols);
      case StmtKind::kCallBlock: bind_function(node, symbols); return bind(node.values, symbols, soft);
      case StmtKind::kGeneration:
      case StmtKind::kScope: return enter(node, symbols);
      case StmtKind::kBreak:
      case StmtKind::kContinue: return;
    }
  }

  // A scope that is just its body, and the filter that the body goes through.
  void enter(Stmt& node, Symbols& outer) {
    has_blocks_ = has_blocks_ || node.isolated;
    Symbols symbols(node.isolated ? nullptr : &outer);
    Scope* scope = open(node.scope, node.isolated ? nullptr : current_);
    collect(node.bodies.front(), symbols);
    if (node.filter != nullptr) collect(*node.filter, symbols);
    within(*scope, symbols, [&] {
      bind(node.bodies.front(), symbols, false);
      if (node.filter != nullptr) bind(*node.filter, symbols, false);
    });
  }

  void bind_with(Stmt& node, Symbols& outer, bool soft) {
    bind(node.values, outer, soft);
    Symbols symbols(&outer);
    Scope* scope = open(node.scope, current_);
    for (const ExprPtr& target : node.targets) declare(*target, symbols);
    collect(node.bodies.front(), symbols);
    within(*scope, symbols, [&] {
      bind(node.targets, symbols, false);
      bind(node.bodies.front(), symbols, false);
    });
  }

  void bind_for(Stmt& node, Symbols& outer, bool soft) {
    bind(node.values, outer, soft);
    forbid_loop_target(node);
    if (node.test != nullptr) {
      Symbols symbols(&outer);
      Scope* scope = open(node.test_scope, current_);
      declare(*node.targets.front(), symbols);
      collect(*node.test, symbols);
      // The target is bound below, in the loop's scope; declared first there as here, it has the same slots.
      within(*scope, symbols, [&] { bind(*node.test, symbols, false); });
    }
    Symbols symbols(&outer);
    Scope* scope = open(node.scope, current_);
    declare(*node.targets.front(), symbols);
    UndeclaredNames uses({"loop"});
    uses.visit(node.bodies.front());
    if (node.recursive || uses.found("loop")) node.loop_slot = symbols.parameter("loop");
    collect(node.bodies.front(), symbols);
    if (node.recursive) capture(scope);
    within(*scope, symbols, [&] {
      bind(*node.targets.front(), symbols, false);
      bind(node.bodies.front(), symbols, false);
    });
    if (node.has_else) {
      Symbols else_symbols(&outer);
      Scope* else_scope = open(node.else_scope, current_);
      collect(node.bodies.back(), else_symbols);
      within(*else_scope, else_symbols, [&] { bind(node.bodies.back(), else_symbols, false); });
    }
  }

  void bind_function(Stmt& node, Symbols& outer) {
    Signature& signature = *node.signature;
    Symbols symbols(&outer);
    Scope* scope = open(node.scope, current_);
    capture(scope);
    for (const ExprPtr& parameter : signature.parameters) symbols.parameter(parameter->text);
    for (const ExprPtr& value : signature.defaults) collect(*value, symbols);
    declare_special(node, symbols);
    collect(node.bodies.front(), symbols);
    within(*scope, symbols, [&] {
      bind(signature.parameters, symbols, false);
      bind(signature.defaults, symbols, false);
      bind(node.bodies.front(), symbols, false);
    });
  }

  // caller, kwargs and varargs exist where the body reads them.
  void declare_special(Stmt& node, Symbols& symbols) {
    Signature& signature = *node.signature;
    UndeclaredNames uses({"caller", "kwargs", "varargs"});
    uses.visit(node.bodies.front());
    const auto parameter_at = [&](std::string_view name) {
      const auto at = std::find_if(signature.parameters.begin(), signature.parameters.end(),
                                   [&](const ExprPtr& parameter) { return parameter->text == name; });
      return static_cast<std::size_t>(at - signature.parameters.begin());
    };
    const std::size_t count = signature.parameters.size();
    if (uses.found("caller")) {
      const std::size_t at = parameter_at("caller");
      if (at == count) {
        signature.caller = symbols.parameter("caller");
      } else if (at < count - signature.defaults.size()) {
        raise_at(node.line, "the argument \"caller\" of a macro or call block must be omitted or be given a default");
      }
    }
    if (uses.found("kwargs") && parameter_at("kwargs") == count) signature.kwargs = symbols.parameter("kwargs");
    if (uses.found("varargs") && parameter_at("varargs") == count) signature.varargs = symbols.parameter("varargs");
  }

  // The names of a target become parameters of the scope.
  void declare(Expr& target, Symbols& symbols) {
    if (target.kind == ExprKind::kName) symbols.parameter(target.text);
    for (const ExprPtr& child : target.children) declare(*child, symbols);
  }

  // jinja2 refuses any assignment to `loop` inside of a loop.
  static void forbid_loop(const Expr& target) {
    if (target.kind == ExprKind::kName && target.stores && target.text == "loop") {
      raise_at(target.line, "Can't assign to special loop variable in for-loop target");
    }
    for (const ExprPtr& child : target.children) forbid_loop(*child);
  }
  static void forbid_loop_target(const Stmt& node) {
    if (node.kind != StmtKind::kMacro && node.kind != StmtKind::kWith) {
      for (const ExprPtr& target : node.targets) forbid_loop(*target);
    }
    for (const Body& body : node.bodies) {
      for (const auto& statement : body) forbid_loop_target(*statement);
    }
  }

  // ---- scopes

  Scope* open(std::unique_ptr<Scope>& place, Scope* parent) {
    place = std::make_unique<Scope>();
    parents_.emplace(place.get(), parent);
    return place.get();
  }

  template <typename Visit>
  void within(Scope& scope, Symbols& symbols, const Visit& visit) {
    Scope* outer = std::exchange(current_, &scope);
    visit();
    current_ = outer;
    scope.loads = symbols.loads();
  }

  // A function is made in `scope`: its frame and those around it live on.
  void capture(Scope* scope) {
    while (scope != nullptr && !scope->captured) {
      scope->captured = true;
      scope = parents_.at(scope);
    }
  }

  Scope* current_ = nullptr;
  bool has_blocks_ = false;
  std::unordered_map<Scope*, Scope*> parents_;
};

}  // namespace

void resolve(Program& program) { Resolver().run(program); }

}  // namespace octavo::text::jinja
