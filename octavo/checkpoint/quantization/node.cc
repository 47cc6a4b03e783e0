// Typed members of an object, with their errors.
#include "octavo/checkpoint/quantization/node.h"

#include <charconv>
#include <optional>

#include "octavo/base/text.h"

namespace octavo::quantization {
namespace {

// "128x128".
std::optional<std::array<std::uint64_t, 2>> parse_block_text(std::string_view text) {
  std::array<std::uint64_t, 2> out{};
  const auto parts = split(text, 'x');
  if (parts.size() != 2) return std::nullopt;
  for (std::size_t i = 0; i < 2; ++i) {
    const char* end = parts[i].data() + parts[i].size();
    const auto [at, error] = std::from_chars(parts[i].data(), end, out[i]);
    if (error != std::errc() || at != end || out[i] == 0) return std::nullopt;
  }
  return out;
}

// Not the comparison with Json(-1), which the largest unsigned number passes.
bool is_minus_one(const Json& value) {
  return value.is_number_integer() && !value.is_number_unsigned() && value.get<std::int64_t>() == -1;
}

bool is_positive(const Json& value) { return value.is_number_unsigned() && value.get<std::uint64_t>() > 0; }

}  // namespace

const Json* Node::get(std::string_view key) const {
  const auto it = json->find(key);
  return it == json->end() || it->is_null() ? nullptr : &*it;
}

Error Node::wrong(std::string_view key, std::string_view problem) const {
  return failure("{}: {}/{} {}", origin, pointer, key, problem);
}

Result<std::string> Node::text(std::string_view key) const {
  const Json* v = get(key);
  if (v == nullptr) return std::string();
  if (!v->is_string()) return wrong(key, fmt::format("must be a string, not {}", json_type_name(*v)));
  return v->get<std::string>();
}

Result<std::vector<std::string>> Node::strings(std::string_view key) const {
  std::vector<std::string> out;
  const Json* v = get(key);
  if (v == nullptr) return out;
  if (!v->is_array()) return wrong(key, fmt::format("must be a list, not {}", json_type_name(*v)));
  for (const Json& item : *v) {
    if (!item.is_string()) return wrong(key, fmt::format("must hold strings, not {}", json_type_name(item)));
    out.push_back(item.get<std::string>());
  }
  return out;
}

Result<std::uint64_t> Node::positive(std::string_view key, std::uint64_t otherwise) const {
  const Json* v = get(key);
  if (v == nullptr) return otherwise;
  if (!is_positive(*v)) return wrong(key, "must be a positive whole number");
  return v->get<std::uint64_t>();
}

Result<bool> Node::boolean(std::string_view key, bool otherwise) const {
  const Json* v = get(key);
  if (v == nullptr) return otherwise;
  if (!v->is_boolean()) return wrong(key, fmt::format("must be true or false, not {}", json_type_name(*v)));
  return v->get<bool>();
}

Result<std::array<std::uint64_t, 2>> Node::block(std::string_view key) const {
  const Json* v = get(key);
  const std::array<std::uint64_t, 2> none{0, 0};
  if (v == nullptr) return none;
  if (v->is_array() && v->size() == 2 && is_minus_one((*v)[0]) && is_minus_one((*v)[1])) return none;
  if (v->is_string()) {
    if (const auto old = parse_block_text(v->get_ref<const std::string&>())) return *old;
  }
  if (!v->is_array() || v->size() != 2 || !is_positive((*v)[0]) || !is_positive((*v)[1])) {
    return wrong(key, "must be two positive whole numbers, [rows, columns]");
  }
  return std::array{(*v)[0].get<std::uint64_t>(), (*v)[1].get<std::uint64_t>()};
}

Result<Node> Node::object(std::string_view key) const {
  const Json* v = get(key);
  if (v == nullptr) return Node{nullptr, "", origin};
  return as_object(*v, fmt::format("{}/{}", pointer, key), origin);
}

Result<Node> as_object(const Json& json, std::string pointer, std::string_view origin) {
  if (!json.is_object()) return failure("{}: {} must be an object, not {}", origin, pointer, json_type_name(json));
  return Node{&json, std::move(pointer), origin};
}

}  // namespace octavo::quantization
