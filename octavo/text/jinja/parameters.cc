// Binding arguments to parameters.
#include "octavo/text/jinja/parameters.h"

#include <algorithm>

namespace octavo::text::jinja {

Parameters::Parameters(std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names, std::size_t required)
    : function_(function) {
  if (arguments.positional.size() > names.size()) {
    raise("{}() takes at most {} arguments ({} given)", function, names.size(), arguments.positional.size());
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) given_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto at = name.empty() ? names.end() : std::find(names.begin(), names.end(), name);
    if (at == names.end()) raise("{}() got an unexpected keyword argument '{}'", function, name);
    const auto i = static_cast<std::size_t>(at - names.begin());
    if (given_[i] != nullptr) raise("{}() got multiple values for argument '{}'", function, name);
    given_[i] = &value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (given_[i] != nullptr) continue;
    const std::string_view name = names.begin()[i];
    if (name.empty()) raise("{}() takes at least {} arguments", function, required);
    raise("{}() missing the argument '{}'", function, name);
  }
}

std::int64_t Parameters::integer(std::size_t i, std::int64_t otherwise) const {
  return has(i) ? demand_integer(at(i), function_) : otherwise;
}

const std::string& Parameters::text(std::size_t i) const {
  if (!at(i).is_string()) raise("{}() needs a string, not {}", function_, type_name(at(i)));
  return at(i).as_string();
}

std::int64_t demand_integer(const Value& value, std::string_view where) {
  if (value.is_undefined()) raise_undefined(value);
  if (!value.is_integral()) {
    raise("{}(): '{}' object cannot be interpreted as an integer", where, type_name(value));
  }
  return value.as_integer();
}

}  // namespace octavo::text::jinja
