// Runs a compiled template. One Evaluator is one render.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "octavo/text/jinja/ast.h"
#include "octavo/text/jinja/value.h"

namespace octavo::text::jinja {

using Variables = std::unordered_map<std::string, Value>;

// The variables of one run of a scope.
struct Frame {
  const Frame* outer = nullptr;
  std::vector<Value> slots;
};

class Evaluator {
 public:
  Evaluator(const Program& program, Variables variables, const Limits& limits, std::optional<std::tm> now)
      : program_(program), variables_(std::move(variables)), budget_(limits), now_(now) {}
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  std::string run();
  int line() const { return line_; }  // of the expression that was evaluated last

  // ---- for filters, tests, methods and functions
  Budget& budget() { return budget_; }
  Value call(const Value& function, const Arguments& arguments);
  Value attribute(const Value& object, const Value& name);  // object.name: attributes first, then items
  Value item(const Value& object, const Value& key);        // object[key]: items first, then attributes
  Value call_filter(std::string_view name, const Value& input, const Arguments& arguments);
  bool call_test(std::string_view name, const Value& input, const Arguments& arguments);
  std::tm now() const;
  // Holds on to what may become part of a cycle until the render ends, and then clears it.
  void keep(std::shared_ptr<Instance> instance);

 private:
  friend class MacroInstance;
  friend class LoopInstance;
  friend class FilteredIterator;
  enum class Flow { kNormal, kBreak, kContinue };

  // statements (evaluator.cc)
  Flow execute(const Body& body);
  Flow execute(const Stmt& node);
  Flow run_if(const Stmt& node);
  Flow run_for(const Stmt& node);
  Flow run_loop(const Stmt& node, const Value& iterable, Frame* outer, int depth);
  Flow run_captured(const Stmt& node);
  Flow run_with(const Stmt& node);
  void run_call_block(const Stmt& node);
  void assign(const Expr& target, const Value& value);
  void write(std::string_view text);
  void write_string(const Value& value);

  // frames (evaluator.cc)
  class Entered;
  void load(const Scope& scope, Frame& frame);
  Value resolve(const std::string& name) const;
  const Value& slot(const Expr& name) const;
  Value call_macro(const Stmt& node, const Frame* outer, const Arguments& arguments);

  // expressions (expressions.cc)
  Value evaluate(const Expr& node);
  Value unary(const Expr& node);
  Value binary(const Expr& node);
  Value compare_chain(const Expr& node);
  Value concatenate(const Expr& node);
  Value cut(const Expr& node);
  Value call_node(const Expr& node, const Value* caller);
  Arguments arguments(const CallArguments& call);

  const Program& program_;
  Variables variables_;
  Budget budget_;
  std::optional<std::tm> now_;
  int line_ = 1;
  Frame* frame_ = nullptr;
  Frame* root_ = nullptr;
  std::string* out_ = nullptr;  // where output goes
  Value captured_;              // what a filter or set block has gathered
  std::vector<std::unique_ptr<Frame>> kept_frames_;
  std::vector<std::shared_ptr<Instance>> kept_;
};

}  // namespace octavo::text::jinja
