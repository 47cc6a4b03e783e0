// Filters of text.
#include <algorithm>

#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/filters.h"
#include "octavo/text/jinja/methods.h"
#include "octavo/text/jinja/operators.h"
#include "octavo/text/jinja/parameters.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/text_wrap.h"
#include "octavo/text/jinja/unicode.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

// soft_str: a string as it is, anything else as it prints.
std::string soft_text(Evaluator& evaluator, const Value& value) { return to_text(value, evaluator.budget()); }

template <std::string (*kMap)(std::string_view)>
Value mapped(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("the filter", arguments, {});
  return Value::string(kMap(soft_text(evaluator, value)));
}

// jinja2's |title: words begin behind white space and - ( { [ <.
std::string title_words(std::string_view text) {
  std::string out;
  std::u32string word;
  const auto flush = [&] {
    if (word.empty()) return;
    out += upper(to_utf8(word.substr(0, 1))) + lower(to_utf8(word.substr(1)));
    word.clear();
  };
  const std::u32string all = to_code_points(text);
  const auto separates = [](char32_t c) {
    return is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  };
  for (const char32_t c : all) {
    if (separates(c)) {
      flush();
      append_utf8(out, c);
    } else {
      word += c;
    }
  }
  flush();
  return out;
}

Value string(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("string", arguments, {});
  return value.is_string() ? value : Value::string(soft_text(evaluator, value));
}

Value safe(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("safe", arguments, {});
  return Value::markup(soft_text(evaluator, value));
}

Value escape(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("escape", arguments, {});
  if (value.is_string() && value.is_markup()) return value;
  return Value::markup(escape_html(soft_text(evaluator, value)));
}

Value force_escape(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("forceescape", arguments, {});
  return Value::markup(escape_html(soft_text(evaluator, value)));
}

Value trim(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("trim", arguments, {"chars"});
  const std::string text = soft_text(evaluator, value);
  if (!given.has_some(0)) return Value::string(std::string(strip_space(text)));
  return Value::string(std::string(strip_chars(text, given.text(0), 3)));
}

Value replace(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("replace", arguments, {"old", "new", "count"}, 2);
  const std::int64_t count = given.has_some(2) ? given.integer(2, -1) : -1;
  return Value::string(replace_text(soft_text(evaluator, value), soft_text(evaluator, given.at(0)),
                                    soft_text(evaluator, given.at(1)), count, evaluator.budget()));
}

Value center(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("center", arguments, {"width"});
  const Value text = Value::string(soft_text(evaluator, value));
  return find_string_method("center")(evaluator, text, {{given.value(0, Value::integer(80))}, {}});
}

Value indent(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("indent", arguments, {"width", "first", "blank"});
  if (value.is_undefined()) raise_undefined(value);
  if (!value.is_string()) raise("indent needs a string, not {}", type_name(value));
  Budget& budget = evaluator.budget();
  std::string indention;
  if (given.has(0) && given.at(0).is_string()) {
    indention = given.text(0);
  } else {
    const std::int64_t width = std::clamp<std::int64_t>(given.integer(0, 4), 0, INT32_MAX);
    budget.charge_allocation(static_cast<std::uint64_t>(width));
    indention.assign(static_cast<std::size_t>(width), ' ');
  }
  const bool blank = given.flag(2, false);
  // A newline is added first, so that one at the end of the text leaves an empty line.
  const std::vector<Value> lines = split_lines(value.as_string() + "\n", false, budget);
  std::string out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i].as_string();
    if (i > 0) out += "\n";
    const bool indented = i == 0 ? given.flag(1, false) : blank || !line.empty();
    budget.charge(indention.size() + line.size());
    budget.check_size(out.size() + indention.size());
    if (indented) out += indention;
    out += line;
  }
  return Value::string(std::move(out));
}

Value truncate(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::int64_t length = given.integer(0, 255);
  const std::string end = given.has(2) ? given.text(2) : "...";
  const std::int64_t leeway = given.has_some(3) ? given.integer(3, 0) : 5;
  const auto end_length = static_cast<std::int64_t>(count_chars(end));
  if (length < end_length) raise("expected length >= {}, got {}", end_length, length);
  if (leeway < 0) raise("expected leeway >= 0, got {}", leeway);
  const std::int64_t size = length_of(value);
  if (size < 0) raise("object of type '{}' has no len()", type_name(value));
  if (size <= length || size - length <= leeway) return value;
  if (!value.is_string()) raise("truncate needs a string, not {}", type_name(value));
  const std::string& text = value.as_string();
  evaluator.budget().charge_allocation(text.size());
  std::string kept = text.substr(0, byte_of_char(text, static_cast<std::size_t>(length - end_length)));
  if (!given.flag(1, false)) {
    if (const std::size_t space = kept.rfind(' '); space != kept.npos) kept.resize(space);
  }
  return Value::string(kept + end);
}

Value word_wrap(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("wordwrap", arguments, {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  if (!value.is_string()) raise("wordwrap needs a string, not {}", type_name(value));
  WrapOptions options;
  options.width = given.integer(0, 79);
  options.break_long_words = given.flag(1, true);
  options.break_on_hyphens = given.flag(3, true);
  const std::string separator = given.has_some(2) ? given.text(2) : "\n";
  std::string out;
  bool is_first = true;
  for (const Value& line : split_lines(value.as_string(), false, evaluator.budget())) {
    std::vector<std::string> parts = wrap_text(line.as_string(), options, evaluator.budget());
    if (parts.empty()) parts.emplace_back();
    for (const std::string& part : parts) {
      if (!is_first) out += separator;
      is_first = false;
      out += part;
      evaluator.budget().charge(separator.size());
      evaluator.budget().check_size(out.size());
    }
  }
  return Value::string(std::move(out));
}

Value word_count(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("wordcount", arguments, {});
  std::int64_t words = 0;
  bool inside = false;
  for (const char32_t c : to_code_points(soft_text(evaluator, value))) {
    const bool word = is_word(c);
    if (word && !inside) ++words;
    inside = word;
  }
  return Value::integer(words);
}

Value format(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    raise("can't handle positional and keyword arguments at the same time");
  }
  const std::string text = soft_text(evaluator, value);
  if (arguments.named.empty()) {
    return Value::string(format_printf(text, Value::tuple(arguments.positional), evaluator));
  }
  const auto dict = std::make_shared<DictObject>();
  for (const auto& [name, argument] : arguments.named) dict->set(Value::string(name), argument);
  return Value::string(format_printf(text, make_dict(dict), evaluator));
}

// urllib.parse.quote. A query's value has "/" quoted too, and "+" for a space.
std::string quote_url(std::string_view text, bool query, Budget& budget) {
  budget.charge_allocation(3 * text.size());
  std::string out;
  for (const char c : text) {
    const bool plain =
        std::isalnum(static_cast<unsigned char>(c)) || std::string_view("_.-~").find(c) != std::string_view::npos;
    if ((plain && static_cast<unsigned char>(c) < 0x80) || (c == '/' && !query)) {
      out += c;
    } else if (c == ' ' && query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Value url_encode(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("urlencode", arguments, {});
  Budget& budget = evaluator.budget();
  const bool iterable = length_of(value) >= 0 || value.is(Kind::kIterator);
  if (value.is_string() || !iterable) return Value::string(quote_url(soft_text(evaluator, value), false, budget));
  const auto walk = iterate(value.is(Kind::kDict) ? make_view(ViewObject::Of::kItems, value) : value);
  std::string out;
  for (Value pair; walk->next(pair);) {
    const std::vector<Value> parts = collect(pair, budget);
    if (parts.size() != 2) raise("urlencode needs pairs");
    if (!out.empty()) out += '&';
    out += quote_url(soft_text(evaluator, parts[0]), true, budget) + "=" +
           quote_url(soft_text(evaluator, parts[1]), true, budget);
    budget.check_size(out.size());
  }
  return Value::string(std::move(out));
}

Value xml_attributes(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters given("xmlattr", arguments, {"autospace"});
  if (value.is_undefined()) raise_undefined(value);
  if (!value.is(Kind::kDict)) raise("'{}' object has no attribute 'items'", type_name(value));
  std::string out;
  const auto shown = [&](const Value& v) {
    const std::string text = soft_text(evaluator, v);
    return v.is_string() && v.is_markup() ? text : escape_html(text);
  };
  for (const auto& [key, element] : as_dict(value).entries()) {
    if (element.is_none() || element.is_undefined()) continue;
    if (!key.is_string()) raise("xmlattr needs names that are strings, not {}", type_name(key));
    if (key.as_string().find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      raise("Invalid character in attribute name: {}", repr_of_string(key.as_string()));
    }
    if (!out.empty()) out += ' ';
    out += shown(key) + "=\"" + shown(element) + "\"";
    evaluator.budget().check_size(out.size());
  }
  if (given.flag(0, true) && !out.empty()) out.insert(0, 1, ' ');
  return Value::string(std::move(out));
}

// Removes `open` ... `close`, as often as both are there.
std::string without_spans(const std::string& text, std::string_view open, std::string_view close) {
  std::string out;
  std::size_t from = 0;
  while (true) {
    const std::size_t begin = text.find(open, from);
    const std::size_t end = begin == text.npos ? text.npos : text.find(close, begin);
    if (end == text.npos) return out + text.substr(from);
    out += text.substr(from, begin - from);
    from = end + close.size();
  }
}

// The entities that escape_html makes, XML's, and numbered ones.
std::string unescape_html(const std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
      {"amp;", "&"}, {"lt;", "<"}, {"gt;", ">"}, {"quot;", "\""}, {"apos;", "'"}, {"nbsp;", "\xC2\xA0"}};
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '&') {
      out += text[i++];
      continue;
    }
    const std::string_view rest = std::string_view(text).substr(i + 1);
    const auto known = std::find_if(std::begin(kEntities), std::end(kEntities),
                                    [&](const auto& entity) { return rest.starts_with(entity.first); });
    if (known != std::end(kEntities)) {
      out += known->second;
      i += 1 + known->first.size();
      continue;
    }
    const std::size_t end = rest.substr(0, 12).find(';');
    if (rest.starts_with('#') && end != rest.npos && end > 1) {
      const bool hex = rest[1] == 'x' || rest[1] == 'X';
      const auto code = parse_integer(rest.substr(hex ? 2 : 1, end - (hex ? 2 : 1)), hex ? 16 : 10);
      if (code && code->as_integer() > 0 && code->as_integer() <= 0x10FFFF &&
          (code->as_integer() < 0xD800 || code->as_integer() > 0xDFFF)) {
        append_utf8(out, static_cast<char32_t>(code->as_integer()));
        i += 2 + end;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

Value strip_tags(Evaluator& evaluator, const Value& value, const Arguments& arguments) {
  const Parameters none("striptags", arguments, {});
  std::string text = without_spans(soft_text(evaluator, value), "<!--", "-->");
  text = without_spans(text, "<", ">");
  std::string words;
  for (const std::string_view word : split_words(text)) {
    if (!words.empty()) words += ' ';
    words += word;
  }
  return Value::string(unescape_html(words));
}

constexpr Filter kFilters[] = {
    {"capitalize", mapped<capitalize>},
    {"center", center},
    {"e", escape},
    {"escape", escape},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"lower", mapped<lower>},
    {"replace", replace},
    {"safe", safe},
    {"string", string},
    {"striptags", strip_tags},
    {"title", mapped<title_words>},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", mapped<upper>},
    {"urlencode", url_encode},
    {"wordcount", word_count},
    {"wordwrap", word_wrap},
    {"xmlattr", xml_attributes},
};

}  // namespace

std::span<const Filter> text_filters() { return kFilters; }

}  // namespace octavo::text::jinja
