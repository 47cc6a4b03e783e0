// The fields of a request's JSON object, read by name: each is known, refused with a reason, or ignored by name, and
// what nobody asked for is an error with the nearest name, as a misspelt field would change the answer without a word.
//
//   FieldReader f(body);
//   f.read("temperature", params.temperature);       // left as it is where the field is absent or null
//   f.ignore({"user"});
//   OCTAVO_TRY(f.finish());                           // an unknown field, or else the first error
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/base/status.h"

namespace octavo::serve {

class FieldReader {
 public:
  // `object` lives longer than the reader; `where` stands before names in messages: "sampling_params."
  explicit FieldReader(const Json& object, std::string where = "") : object_(object), where_(std::move(where)) {}

  // The field's value, nullptr where it is absent or null. The name is known from here on.
  const Json* get(std::string_view name);

  void read(std::string_view name, bool& out);
  void read(std::string_view name, double& out);
  void read(std::string_view name, std::int64_t& out);
  void read(std::string_view name, int& out);
  void read(std::string_view name, std::uint64_t& out);
  void read(std::string_view name, std::string& out);
  template <typename T>
  void read(std::string_view name, std::optional<T>& out) {
    T value{};
    if (get(name) == nullptr) return;
    read(name, value);
    if (!error_) out = std::move(value);
  }
  void strings(std::string_view name, std::vector<std::string>& out);  // a string, or a list of strings
  void tokens(std::string_view name, std::vector<std::int32_t>& out);  // a list of ids
  // An object, "" to number: {"50256": -100}.
  void biases(std::string_view name, std::vector<std::pair<std::int32_t, double>>& out);

  // An error with the reason where the field asks for something: it is not null, false, 0, "", [] or {}.
  void refuse(std::string_view name, std::string_view why);
  // An error where the field is not the one value that means nothing.
  void only(std::string_view name, const Json& value, std::string_view why);
  void ignore(std::initializer_list<std::string_view> names);
  void fail(std::string_view name, std::string_view message);

  bool ok() const { return !error_; }
  Status finish();  // after all fields were read, so that every name is known

 private:
  void wrong_type(std::string_view name, std::string_view wanted, const Json& value);

  const Json& object_;
  std::string where_;
  std::vector<std::string> known_;
  std::optional<Error> error_;
};

// A JSON number as an integer: 16 and 16.0. Nothing where it is none or out of range.
std::optional<std::int64_t> integer_of(const Json& value);
// A list of token ids; nothing where it is something else.
std::optional<std::vector<std::int32_t>> tokens_of(const Json& value);

}  // namespace octavo::serve
