// A JSON value together with its JSON pointer, so that every complaint about a tokenizer file says where.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/base/status.h"

namespace octavo::text {

// Does not own the value.
class JsonField {
 public:
  JsonField(const Json& value, std::string pointer) : value_(&value), pointer_(std::move(pointer)) {}

  const Json& json() const { return *value_; }
  const std::string& pointer() const { return pointer_; }

  Result<JsonField> member(std::string_view name) const;       // of an object that must have it
  std::optional<JsonField> find(std::string_view name) const;  // nothing when absent, null, or not an object
  JsonField item(std::size_t index) const;                     // of an array, which it must be
  Result<std::vector<JsonField>> items() const;

  Result<std::string> string() const;
  Result<bool> boolean() const;
  Result<double> number() const;
  Result<std::int64_t> integer(std::int64_t lowest, std::int64_t highest) const;
  Result<char32_t> character() const;  // a string of exactly one code point

  // Members at once. With a default an absent or null member takes it.
  Result<std::string> string(std::string_view name) const;
  Result<bool> boolean(std::string_view name) const;
  Result<bool> boolean(std::string_view name, bool absent) const;
  Result<std::string> type() const { return string("type"); }

  template <typename... Args>
  Error error(fmt::format_string<Args...> format, Args&&... args) const {
    return failure("{}: {}", pointer_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  Error wrong_type(std::string_view wanted) const;
  const Json* value_;
  std::string pointer_;
};

}  // namespace octavo::text
