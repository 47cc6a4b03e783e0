// JSON into values, and values into JSON as Python's json.dumps writes it.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "octavo/text/jinja/compare.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

Value string_value(const std::string& text) {
  if (invalid_utf8_offset(text)) raise("a variable holds text that is not valid UTF-8");
  return Value::string(text);
}

Value convert(const Json& json, int depth) {
  if (depth > kMaxNesting) raise("a variable is nested deeper than {} levels", kMaxNesting);
  switch (json.type()) {
    case Json::value_t::object: {
      const auto dict = std::make_shared<DictObject>();
      for (const auto& [key, value] : json.items()) dict->set(string_value(key), convert(value, depth + 1));
      return make_dict(dict);
    }
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(convert(item, depth + 1));
      return Value::list(std::move(items));
    }
    case Json::value_t::string: return string_value(json.get_ref<const std::string&>());
    case Json::value_t::boolean: return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer: return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto natural = json.get<std::uint64_t>();
      if (natural > INT64_MAX) return Value::big_integer(std::to_string(natural));
      return Value::integer(static_cast<std::int64_t>(natural));
    }
    case Json::value_t::number_float: return Value::real(json.get<double>());
    default: return Value::none();
  }
}

std::string float_json(double d) {
  if (std::isnan(d)) return "NaN";
  if (std::isinf(d)) return d < 0 ? "-Infinity" : "Infinity";
  return repr_of_float(d);
}

class Writer {
 public:
  Writer(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void put(const Value& value, std::size_t level) {
    budget_.charge(kWorkOfANode);
    switch (value.kind()) {
      case Kind::kNone: return add("null");
      case Kind::kBool: return add(value.as_bool() ? "true" : "false");
      case Kind::kInt:
      case Kind::kBigInt: return add(to_text(value));
      case Kind::kFloat: return add(float_json(value.as_float()));
      case Kind::kString: return put_string(value.as_string());
      case Kind::kList:
      case Kind::kTuple: return put_list(value.items(), level);
      case Kind::kDict: return put_dict(as_dict(value), level);
      default: raise("Object of type {} is not JSON serializable", type_name(value));
    }
  }
  std::string take() && { return std::move(out_); }

 private:
  void add(std::string_view text) {
    budget_.charge(text.size());
    budget_.check_size(out_.size() + text.size());
    out_ += text;
  }

  void line(std::size_t level) {
    if (!style_.indent) return;
    add("\n");
    for (std::size_t i = 0; i < level; ++i) add(*style_.indent);
  }

  void put_list(const std::vector<Value>& items, std::size_t level) {
    if (items.empty()) return add("[]");
    add("[");
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) add(style_.item_separator);
      line(level + 1);
      put(items[i], level + 1);
    }
    line(level);
    add("]");
  }

  void put_dict(const DictObject& dict, std::size_t level) {
    const auto& entries = dict.entries();
    if (entries.empty()) return add("{}");
    std::vector<std::size_t> order(entries.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (style_.sort_keys) {
      sort_stable(order, [&](std::size_t a, std::size_t b) { return less(entries[a].first, entries[b].first); });
    }
    add("{");
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i > 0) add(style_.item_separator);
      line(level + 1);
      put_key(entries[order[i]].first);
      add(style_.key_separator);
      put(entries[order[i]].second, level + 1);
    }
    line(level);
    add("}");
  }

  void put_key(const Value& key) {
    switch (key.kind()) {
      case Kind::kString: return put_string(key.as_string());
      case Kind::kNone: return add("\"null\"");
      case Kind::kBool: return add(key.as_bool() ? "\"true\"" : "\"false\"");
      case Kind::kInt:
      case Kind::kBigInt: return add('"' + to_text(key) + '"');
      case Kind::kFloat: return add('"' + float_json(key.as_float()) + '"');
      default: raise("keys must be str, int, float, bool or None, not {}", type_name(key));
    }
  }

  void put_string(std::string_view text) {
    std::string quoted = "\"";
    while (!text.empty()) {
      const CodePoint c = first_code_point(text);
      const std::size_t length = std::max<std::size_t>(c.length, 1);
      put_character(quoted, c.value, text.substr(0, length));
      text.remove_prefix(length);
    }
    add(quoted + '"');
  }

  void put_character(std::string& out, char32_t c, std::string_view bytes) const {
    const auto code = static_cast<std::uint32_t>(c);
    switch (c) {
      case '"': out += "\\\""; return;
      case '\\': out += "\\\\"; return;
      case '\n': out += "\\n"; return;
      case '\r': out += "\\r"; return;
      case '\t': out += "\\t"; return;
      case '\f': out += "\\f"; return;
      case '\b': out += "\\b"; return;
      default: break;
    }
    if (c >= 0x20 && (c < 0x7F || !style_.ensure_ascii)) {
      out += bytes;
    } else if (code < 0x10000) {
      out += fmt::format("\\u{:04x}", code);
    } else {
      // A surrogate pair (Unicode 3.9, UTF-16).
      const std::uint32_t offset = code - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (offset >> 10), 0xDC00 + (offset & 0x3FF));
    }
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
};

}  // namespace

Value from_json(const Json& json) { return convert(json, 0); }

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  Writer writer(style, budget);
  writer.put(value, 0);
  return std::move(writer).take();
}

}  // namespace octavo::text::jinja
