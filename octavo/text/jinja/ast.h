// The tree of a template. Two node types with a kind each, so that analysis walks them in one loop. Immutable once
// compiled; shared by renders on several threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "octavo/text/jinja/value.h"

namespace octavo::text::jinja {

struct Expr;
struct Stmt;
struct Scope;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<std::unique_ptr<Stmt>>;
using FilterFunction = Value (*)(Evaluator&, const Value& input, const Arguments&);
using TestFunction = bool (*)(Evaluator&, const Value& input, const Arguments&);

enum class ExprKind : std::uint8_t {
  kConst,      // constant
  kName,       // name at (hops, slot)
  kMember,     // name.attribute as a target: a namespace's attribute; name at (hops, slot), attribute in `text`
  kCaptured,   // what a {% filter %} or {% set %} block has captured
  kTuple,      // children
  kList,       // children
  kDict,       // children: key, value, key, value ...
  kUnary,      // op child
  kBinary,     // child op child; and, or too
  kConcat,     // children joined by ~
  kCompare,    // children[0] ops[0] children[1] ops[1] children[2] ...
  kCondition,  // children: test, value, otherwise (may be missing)
  kAttribute,  // child.text
  kItem,       // child[child]
  kSlice,      // child[start:stop:step]; children: child, start, stop, step (null where missing)
  kFilter,     // child | text(call)
  kTest,       // child is text(call)
  kCall,       // child(call)
};

enum class Op : std::uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kAnd,
  kOr,
  kNot,
  kNegative,
  kPositive,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr spread;        // *args
  ExprPtr spread_named;  // **kwargs
};

struct Expr {
  Expr(ExprKind k, int l) : kind(k), line(l) {}
  ExprKind kind;
  int line;
  int depth = 1;        // of the tree below: bounded, so that walking it is
  bool stores = false;  // a name or member that is assigned to
  Op op = Op::kAdd;
  int hops = 0;  // frames outwards
  int slot = 0;
  Value constant;
  std::string text;
  std::string attribute;
  std::vector<ExprPtr> children;  // in jinja2's order
  std::vector<Op> ops;
  std::unique_ptr<CallArguments> call;
  FilterFunction filter = nullptr;  // null: no such filter, which is an error when it is reached
  TestFunction test = nullptr;
};

enum class StmtKind : std::uint8_t {
  kOutput,       // values are printed
  kIf,           // values: the conditions; bodies: one each, and the else's where there is one
  kFor,          // target, values[0] iterable, test; bodies: loop, else
  kSet,          // target, values[0]
  kSetBlock,     // target, filter (may be null), bodies[0]
  kWith,         // targets, values, bodies[0]
  kMacro,        // signature, bodies[0]
  kCallBlock,    // signature (of the caller), values[0] the call, bodies[0]
  kFilterBlock,  // filter, bodies[0]
  kGeneration,   // bodies[0], as a function of its own
  kScope,        // bodies[0]: {% autoescape false %}, {% block %}
  kBreak,
  kContinue,
};

struct Signature {
  std::string name;
  std::vector<ExprPtr> parameters;  // names
  std::vector<ExprPtr> defaults;    // of the last ones
  // Slots of the special variables, -1 where the body does not use them.
  int caller = -1, kwargs = -1, varargs = -1;
};

struct Stmt {
  Stmt(StmtKind k, int l);
  ~Stmt();
  StmtKind kind;
  int line;
  bool recursive = false;
  bool has_else = false;
  bool isolated = false;  // a block: sees the context only
  std::vector<ExprPtr> values;
  std::vector<ExprPtr> targets;
  ExprPtr test;
  ExprPtr filter;
  std::vector<Body> bodies;
  std::unique_ptr<Signature> signature;
  std::unique_ptr<Scope> scope, else_scope, test_scope;
  int loop_slot = -1;  // of the variable `loop`, -1 where the body does not use it
};

// Where a variable of a scope comes from when its frame is entered.
struct Load {
  enum class From : std::uint8_t { kParameter, kContext, kOuter, kNothing } from = From::kNothing;
  std::string name;  // kContext
  int hops = 0;      // kOuter: frames outwards from this scope's frame
  int slot = 0;
};

// The variables of a frame, as jinja2's compiler assigns them.
struct Scope {
  std::vector<Load> loads;  // by slot
  bool captured = false;    // a function in it may outlive it
  // The slots that {% block %} sees by name: what the top level sets. Only of the root.
  std::vector<std::pair<std::string, int>> exported;
};

struct Program {
  Body body;
  std::unique_ptr<Scope> scope;
};

}  // namespace octavo::text::jinja
