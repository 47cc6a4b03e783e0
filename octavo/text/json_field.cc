// Typed access to JSON values with errors that name the pointer.
#include "octavo/text/json_field.h"

#include "octavo/base/text.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

std::string below(const std::string& pointer, std::string_view name) {
  std::string escaped;  // RFC 6901
  for (const char c : printable(name)) {
    if (c == '~') {
      escaped += "~0";
    } else if (c == '/') {
      escaped += "~1";
    } else {
      escaped += c;
    }
  }
  return pointer + "/" + escaped;
}

}  // namespace

Error JsonField::wrong_type(std::string_view wanted) const {
  return error("must be {}, not {}", wanted, json_type_name(*value_));
}

Result<JsonField> JsonField::member(std::string_view name) const {
  if (!value_->is_object()) return wrong_type("an object");
  const auto it = value_->find(name);
  if (it == value_->end()) return error("has no \"{}\"", name);
  return JsonField(*it, below(pointer_, name));
}

std::optional<JsonField> JsonField::find(std::string_view name) const {
  if (!value_->is_object()) return std::nullopt;
  const auto it = value_->find(name);
  if (it == value_->end() || it->is_null()) return std::nullopt;
  return JsonField(*it, below(pointer_, name));
}

JsonField JsonField::item(std::size_t index) const {
  return JsonField((*value_)[index], fmt::format("{}/{}", pointer_, index));
}

Result<std::vector<JsonField>> JsonField::items() const {
  if (!value_->is_array()) return wrong_type("a list");
  std::vector<JsonField> out;
  out.reserve(value_->size());
  for (std::size_t i = 0; i < value_->size(); ++i) out.push_back(item(i));
  return out;
}

Result<std::string> JsonField::string() const {
  if (!value_->is_string()) return wrong_type("a string");
  return value_->get<std::string>();
}

Result<bool> JsonField::boolean() const {
  if (!value_->is_boolean()) return wrong_type("true or false");
  return value_->get<bool>();
}

Result<double> JsonField::number() const {
  if (!value_->is_number()) return wrong_type("a number");
  return value_->get<double>();
}

Result<std::int64_t> JsonField::integer(std::int64_t lowest, std::int64_t highest) const {
  if (!value_->is_number_integer()) return wrong_type("an integer");
  const bool huge =
      value_->is_number_unsigned() && value_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
  const std::int64_t v = huge ? INT64_MAX : value_->get<std::int64_t>();
  if (v < lowest || v > highest) return error("is {}, outside {} .. {}", value_->dump(), lowest, highest);
  return v;
}

Result<char32_t> JsonField::character() const {
  OCTAVO_ASSIGN(const std::string text, string());
  const CodePoint c = first_code_point(text);
  if (c.length == 0 || c.length != text.size()) return error("must be one character, not \"{}\"", printable(text));
  return c.value;
}

Result<std::string> JsonField::string(std::string_view name) const {
  OCTAVO_ASSIGN(const JsonField field, member(name));
  return field.string();
}

Result<bool> JsonField::boolean(std::string_view name) const {
  OCTAVO_ASSIGN(const JsonField field, member(name));
  return field.boolean();
}

Result<bool> JsonField::boolean(std::string_view name, bool absent) const {
  const auto field = find(name);
  if (!field) return absent;
  return field->boolean();
}

}  // namespace octavo::text
