// Values of a template: Python's types as far as templates see them. A Value is small and cheap to copy; what it
// points to is immutable, except for iterators and instances (namespaces, loops). Immutable values may be shared
// between threads: the constants of a compiled template are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "octavo/text/jinja/budget.h"

namespace octavo::text::jinja {

class Value;
class Evaluator;

enum class Kind : std::uint8_t {
  kMissing,    // a variable that was never set; never seen by an expression
  kUndefined,  // jinja2's Undefined
  kNone,
  kBool,
  kInt,
  kBigInt,  // an integer of JSON beyond 64 bits: prints, compares equal to itself, does not calculate
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kRange,
  kView,      // dict.keys(), .values(), .items()
  kIterator,  // a generator or another thing that can be walked once
  kInstance,  // everything with attributes of its own: functions, macros, namespaces, loops
};

struct Object {
  virtual ~Object() = default;
};

// Containers nest at most so deep: comparing, printing and freeing them recurse.
constexpr int kMaxNesting = 200;
// A value written out has at most so many elements (32 bytes of text are one): [x, x] doubles them at every step.
constexpr std::uint64_t kMaxWeight = std::uint64_t{1} << 25;

struct Extent {
  int nesting = 0;
  std::uint64_t weight = 1;
  void add(const Extent& inner);  // of an element; raises beyond the limits
};

class Value {
 public:
  Value() noexcept {}  // missing
  static Value none() { return Value(Kind::kNone, nullptr); }
  static Value boolean(bool b);
  static Value integer(std::int64_t i);
  static Value real(double d);
  static Value string(std::string text);  // valid UTF-8
  static Value markup(std::string text);  // markupsafe.Markup: what |escape gives
  static Value big_integer(std::string digits);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value object(Kind kind, std::shared_ptr<const Object> object) { return Value(kind, std::move(object)); }

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_missing() const { return kind_ == Kind::kMissing; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }  // bool is an int in Python
  bool is_float() const { return kind_ == Kind::kFloat; }
  bool is_number() const { return is_integral() || is_float() || kind_ == Kind::kBigInt; }
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }

  // Each demands its kind.
  bool as_bool() const { return integer_ != 0; }
  std::int64_t as_integer() const { return integer_; }  // also of a bool
  double as_float() const { return real_; }
  const std::string& as_string() const;  // also the digits of a kBigInt
  bool is_ascii() const;                 // of a string
  bool is_markup() const;                // of a string
  const std::vector<Value>& items() const;
  const std::shared_ptr<const Object>& pointer() const { return object_; }
  template <typename T>
  const T& get() const {
    return static_cast<const T&>(*object_);
  }

  bool identical(const Value& other) const;  // Python's `is`
  Extent extent() const;                     // what walking through all of it costs

 private:
  Value(Kind kind, std::shared_ptr<const Object> object) : kind_(kind), object_(std::move(object)) {}

  Kind kind_ = Kind::kMissing;
  union {
    std::int64_t integer_ = 0;
    double real_;
  };
  std::shared_ptr<const Object> object_;
};

struct StringObject final : Object {
  explicit StringObject(std::string t);
  std::string text;
  bool ascii;
  bool markup = false;
};

struct ListObject final : Object {
  explicit ListObject(std::vector<Value> list);
  std::vector<Value> items;
  Extent extent;
  bool group = false;  // a tuple of |groupby, which has the attributes grouper and list
};

// What is said of an undefined value when it is used.
struct UndefinedObject final : Object {
  std::string hint;   // the whole sentence, or empty:
  std::string owner;  // "dict object", empty for a variable
  std::string name;   // what was looked up, as Python prints it where it is not a string
  bool name_is_text = true;
  std::string message() const;
};
Value undefined_variable(std::string_view name);
Value undefined_hint(std::string hint);
Value undefined_member(const Value& owner, const Value& name);
[[noreturn]] void raise_undefined(const Value& undefined);

// Ordered like Python's dict; 1, 1.0 and True are one key.
class DictObject final : public Object {
 public:
  using Entry = std::pair<Value, Value>;
  const std::vector<Entry>& entries() const { return entries_; }
  const Value* find(const Value& key) const;  // raises where the key cannot be hashed
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);  // only while it is being built
  const Extent& extent() const { return extent_; }

 private:
  std::size_t position(const Value& key, std::size_t hash) const;

  std::vector<Entry> entries_;
  std::unordered_multimap<std::size_t, std::size_t> index_;  // hash -> position; only of more than kLinear entries
  Extent extent_{.nesting = 1};
};
Value make_dict(std::shared_ptr<DictObject> dict);
const DictObject& as_dict(const Value& value);

struct RangeObject final : Object {
  std::int64_t start = 0, stop = 0, step = 1;
  std::int64_t size() const;
  std::int64_t at(std::int64_t index) const { return start + index * step; }
};
Value make_range(std::int64_t start, std::int64_t stop, std::int64_t step);

struct ViewObject final : Object {
  enum class Of { kKeys, kValues, kItems } of;
  Value dict;
  Value at(std::size_t index) const;
};
Value make_view(ViewObject::Of of, const Value& dict);

// A walk over values, once. Mutable: belongs to one render.
struct Iterator : Object {
  virtual bool next(Value& out) = 0;  // false at the end, and ever after
  std::string label = "generator object";
  Extent extent{.nesting = 1};  // with what it draws from
};
Value make_iterator(std::shared_ptr<Iterator> iterator);
// Throws where the value cannot be walked.
std::shared_ptr<Iterator> iterate(const Value& value);
std::vector<Value> collect(const Value& iterable, Budget& budget);

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// What has attributes of its own or can be called.
struct Instance : Object {
  virtual std::string type_name() const = 0;  // "jinja2.utils.Namespace" in Python
  virtual std::string repr(Budget&) const { return "<" + type_name() + " object>"; }
  // Missing where there is none. `self` is the value that holds this object.
  virtual Value attribute(const Value& self, std::string_view name) const;
  virtual bool callable() const { return false; }
  virtual Value call(Evaluator& evaluator, const Arguments& arguments) const;
  virtual Extent extent() const { return {.nesting = 1}; }
  virtual void clear() {}  // drops what it holds: cycles end here
};
Value make_instance(std::shared_ptr<const Instance> instance);

std::string_view type_name(const Value& value);  // Python's: "str", "dict", "NoneType"
bool truthy(const Value& value);
// Python's len(), or -1 where it has none.
std::int64_t length_of(const Value& value);

}  // namespace octavo::text::jinja
