// Objects with attributes of their own: loop, namespace(), cycler(), joiner(), and bound methods.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "octavo/text/jinja/builtins.h"
#include "octavo/text/jinja/value.h"

namespace octavo::text::jinja {

// The variable `loop` (jinja2.runtime.LoopContext).
class LoopInstance final : public Instance {
 public:
  using Recurse = std::function<Value(const Value& iterable, int depth)>;
  // `walk` goes over `iterable`, whose length is -1 where it is not known ahead. `recurse` is empty unless the loop is
  // recursive.
  LoopInstance(Budget& budget, std::shared_ptr<Iterator> walk, const Value& iterable, std::int64_t length,
               Recurse recurse, int depth);

  bool advance(Value& item);
  std::string type_name() const override { return "jinja2.runtime.LoopContext"; }
  std::string repr(Budget& budget) const override;
  bool callable() const override { return true; }
  Value call(Evaluator& evaluator, const Arguments& arguments) const override;
  Value attribute(const Value& self, std::string_view name) const override;
  Extent extent() const override { return extent_; }
  void clear() override;

  Value cycle(const Arguments& arguments) const;
  Value changed(const Arguments& arguments) const;

 private:
  const Value& peek() const;  // missing at the end
  std::int64_t length() const;

  Budget& budget_;
  std::shared_ptr<Iterator> walk_;
  Extent extent_{.nesting = 1};
  mutable std::int64_t length_;
  Recurse recurse_;
  int depth0_;
  std::int64_t index0_ = -1;
  Value before_, current_;
  mutable std::vector<Value> ahead_;  // taken from walk_ but not reached yet, in order
  mutable std::size_t next_ahead_ = 0;
  mutable bool ended_ = false;
  mutable Value last_changed_;
};

// namespace(): the one thing that a template can write to.
class NamespaceInstance final : public Instance {
 public:
  std::string type_name() const override { return "jinja2.utils.Namespace"; }
  std::string repr(Budget& budget) const override;
  Value attribute(const Value& self, std::string_view name) const override;
  void set(const std::string& name, const Value& value);
  void clear() override { fields_.clear(); }

 private:
  std::vector<std::pair<std::string, Value>> fields_;
};
NamespaceInstance* as_namespace(const Value& value);  // null where it is something else

class CyclerInstance final : public Instance {
 public:
  explicit CyclerInstance(std::vector<Value> items);
  std::string type_name() const override { return "jinja2.utils.Cycler"; }
  Value attribute(const Value& self, std::string_view name) const override;
  Extent extent() const override { return items_.extent(); }
  Value next() const;
  void reset() const { position_ = 0; }

 private:
  Value items_;  // a tuple, not empty
  mutable std::size_t position_ = 0;
};

class JoinerInstance final : public Instance {
 public:
  explicit JoinerInstance(Value separator) : separator_(std::move(separator)) { extent_.add(separator_.extent()); }
  std::string type_name() const override { return "jinja2.utils.Joiner"; }
  bool callable() const override { return true; }
  Value call(Evaluator& evaluator, const Arguments& arguments) const override;
  Value attribute(const Value& self, std::string_view name) const override;
  Extent extent() const override { return extent_; }

 private:
  Value separator_;
  Extent extent_{.nesting = 1};
  mutable bool used_ = false;
};

// A function of this program, bound to the value it was taken from.
class MethodInstance final : public Instance {
 public:
  MethodInstance(std::string_view name, Value self, MethodFunction function)
      : name_(name), self_(std::move(self)), function_(function) {
    extent_.add(self_.extent());
  }
  std::string type_name() const override { return "builtin_function_or_method"; }
  std::string repr(Budget&) const override { return fmt::format("<function {}>", name_); }
  bool callable() const override { return true; }
  Value call(Evaluator& evaluator, const Arguments& arguments) const override {
    return function_(evaluator, self_, arguments);
  }
  Extent extent() const override { return extent_; }

 private:
  std::string name_;
  Value self_;
  Extent extent_{.nesting = 1};
  MethodFunction function_;
};

}  // namespace octavo::text::jinja
