// Binds the arguments of a call to a builtin's parameters as Python does, with its errors.
#pragma once

#include <array>
#include <initializer_list>
#include <string>
#include <string_view>

#include "octavo/text/jinja/value.h"

namespace octavo::text::jinja {

class Parameters {
 public:
  // `names` of the parameters in order; "" is one that cannot be given by name. The first `required` must be given.
  Parameters(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> names,
             std::size_t required = 0);

  bool has(std::size_t i) const { return given_[i] != nullptr; }
  const Value& at(std::size_t i) const { return *given_[i]; }
  Value value(std::size_t i, Value otherwise) const { return has(i) ? at(i) : std::move(otherwise); }
  bool flag(std::size_t i, bool otherwise) const { return has(i) ? truthy(at(i)) : otherwise; }
  std::int64_t integer(std::size_t i, std::int64_t otherwise) const;  // raises for what is no integer
  const std::string& text(std::size_t i) const;                       // raises for what is no string
  // None and absence are one.
  bool has_some(std::size_t i) const { return has(i) && !at(i).is_none(); }

 private:
  static constexpr std::size_t kMost = 8;
  std::string_view function_;
  std::array<const Value*, kMost> given_{};
};

// An argument that must be an integer (a bool is one).
std::int64_t demand_integer(const Value& value, std::string_view where);

}  // namespace octavo::text::jinja
