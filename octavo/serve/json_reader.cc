// Fields by name, with sentences for what is wrong.
#include "octavo/serve/json_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "octavo/base/text.h"

namespace octavo::serve {

std::optional<std::int64_t> integer_of(const Json& value) {
  constexpr double kLargest = 9007199254740992.0;  // 2^53: every integer up to it is a double
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  if (std::abs(number) > kLargest || number != std::trunc(number)) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

std::optional<std::vector<std::int32_t>> tokens_of(const Json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<std::int32_t> out;
  out.reserve(value.size());
  for (const Json& item : value) {
    const auto id = integer_of(item);
    if (!id || *id < std::numeric_limits<std::int32_t>::min() || *id > std::numeric_limits<std::int32_t>::max()) {
      return std::nullopt;
    }
    out.push_back(static_cast<std::int32_t>(*id));
  }
  return out;
}

const Json* FieldReader::get(std::string_view name) {
  if (std::find(known_.begin(), known_.end(), name) == known_.end()) known_.emplace_back(name);
  const auto at = object_.find(name);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

void FieldReader::fail(std::string_view name, std::string_view message) {
  if (!error_) error_ = usage_error("{}{}: {}", where_, name, message);
}

void FieldReader::wrong_type(std::string_view name, std::string_view wanted, const Json& value) {
  constexpr std::size_t kLongest = 40;
  const std::string shown = value.is_primitive() && !value.is_string()
                                ? printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), kLongest)
                                : std::string(json_type_name(value));
  fail(name, fmt::format("must be {}, and is {}", wanted, shown));
}

void FieldReader::read(std::string_view name, bool& out) {
  const Json* value = get(name);
  if (value == nullptr) return;
  if (!value->is_boolean()) return wrong_type(name, "true or false", *value);
  out = value->get<bool>();
}

void FieldReader::read(std::string_view name, double& out) {
  const Json* value = get(name);
  if (value == nullptr) return;
  if (!value->is_number()) return wrong_type(name, "a number", *value);
  out = value->get<double>();
}

void FieldReader::read(std::string_view name, std::int64_t& out) {
  const Json* value = get(name);
  if (value == nullptr) return;
  const auto number = integer_of(*value);
  if (!number) return wrong_type(name, "an integer", *value);
  out = *number;
}

void FieldReader::read(std::string_view name, int& out) {
  std::int64_t wide = out;
  read(name, wide);
  if (wide < std::numeric_limits<int>::min() || wide > std::numeric_limits<int>::max()) {
    return fail(name, fmt::format("{} is out of range", wide));
  }
  out = static_cast<int>(wide);
}

void FieldReader::read(std::string_view name, std::uint64_t& out) {
  const Json* value = get(name);
  if (value == nullptr) return;
  if (value->is_number_unsigned()) {
    out = value->get<std::uint64_t>();
    return;
  }
  const auto number = integer_of(*value);
  if (!number || *number < 0) return wrong_type(name, "an integer of 0 or more", *value);
  out = static_cast<std::uint64_t>(*number);
}

void FieldReader::read(std::string_view name, std::string& out) {
  const Json* value = get(name);
  if (value == nullptr) return;
  if (!value->is_string()) return wrong_type(name, "a string", *value);
  out = value->get<std::string>();
}

void FieldReader::strings(std::string_view name, std::vector<std::string>& out) {
  const Json* value = get(name);
  if (value == nullptr) return;
  out.clear();
  if (value->is_string()) {
    out.push_back(value->get<std::string>());
    return;
  }
  if (!value->is_array()) return wrong_type(name, "a string or a list of strings", *value);
  for (const Json& item : *value) {
    if (!item.is_string()) return wrong_type(name, "a list of strings", item);
    out.push_back(item.get<std::string>());
  }
}

void FieldReader::tokens(std::string_view name, std::vector<std::int32_t>& out) {
  const Json* value = get(name);
  if (value == nullptr) return;
  auto ids = tokens_of(*value);
  if (!ids) return wrong_type(name, "a list of token ids", *value);
  out = std::move(*ids);
}

void FieldReader::biases(std::string_view name, std::vector<std::pair<std::int32_t, double>>& out) {
  const Json* value = get(name);
  if (value == nullptr) return;
  if (!value->is_object()) return wrong_type(name, "an object of token ids and numbers", *value);
  out.clear();
  for (const auto& [key, bias] : value->items()) {
    std::int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size()) {
      return fail(name, fmt::format("\"{}\" is no token id", printable(key)));
    }
    if (!bias.is_number()) return wrong_type(name, "an object of token ids and numbers", bias);
    out.emplace_back(id, bias.get<double>());
  }
}

void FieldReader::refuse(std::string_view name, std::string_view why) {
  const Json* value = get(name);
  if (value == nullptr) return;
  const bool nothing = (value->is_boolean() && !value->get<bool>()) ||
                       (value->is_number() && value->get<double>() == 0) ||
                       ((value->is_structured() || value->is_string()) && value->empty()) ||
                       (value->is_string() && value->get_ref<const std::string&>().empty());
  if (!nothing) fail(name, why);
}

void FieldReader::only(std::string_view name, const Json& wanted, std::string_view why) {
  const Json* value = get(name);
  if (value != nullptr && *value != wanted) fail(name, why);
}

void FieldReader::ignore(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) known_.emplace_back(name);
}

Status FieldReader::finish() {
  // A misspelt name comes first: that another field is missing may follow from it.
  for (const auto& [key, value] : object_.items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    return usage_error("unknown field \"{}{}\"{}", where_, printable(key), did_you_mean(key, known_));
  }
  if (error_) return *error_;
  return {};
}

}  // namespace octavo::serve
