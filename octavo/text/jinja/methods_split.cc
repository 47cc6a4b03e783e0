// Methods of str that cut and join.
#include <algorithm>

#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/methods.h"
#include "octavo/text/jinja/parameters.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

Value made(std::string_view text) { return Value::string(std::string(text)); }

// A part of a list costs a string of its own.
void charge_part(Budget& budget) { budget.charge(4 * kWorkOfANode); }

std::int64_t limit_of(const Parameters& given) {
  const std::int64_t limit = given.integer(1, -1);
  return limit < 0 ? INT64_MAX : limit;
}

std::size_t last_space_end(std::string_view text) { return strip_space(text, 2).size(); }

// Where the last run of characters that are no spaces begins.
std::size_t last_word_begin(std::string_view text) {
  std::size_t at = text.size();
  while (at > 0) {
    std::size_t before = at - 1;
    while (before > 0 && (static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
    if (is_space(first_code_point(text.substr(before)).value)) break;
    at = before;
  }
  return at;
}

std::size_t first_word_end(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const CodePoint c = first_code_point(text.substr(at));
    if (is_space(c.value)) break;
    at += std::max<std::size_t>(c.length, 1);
  }
  return at;
}

Value split(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("split", arguments, {"sep", "maxsplit"});
  Budget& budget = evaluator.budget();
  std::string_view text = self.as_string();
  budget.charge_allocation(text.size());
  const std::int64_t limit = limit_of(given);
  std::vector<Value> parts;
  if (!given.has_some(0)) {
    text = strip_space(text, 1);
    while (!text.empty()) {
      charge_part(budget);
      if (static_cast<std::int64_t>(parts.size()) >= limit) {
        parts.push_back(made(text));  // with the spaces at its end
        break;
      }
      const std::size_t end = first_word_end(text);
      parts.push_back(made(text.substr(0, end)));
      text = strip_space(text.substr(end), 1);
    }
    return Value::list(std::move(parts));
  }
  const std::string& separator = given.text(0);
  if (separator.empty()) raise("empty separator");
  std::size_t from = 0;
  while (static_cast<std::int64_t>(parts.size()) < limit) {
    charge_part(budget);
    const std::size_t at = find_text(text, separator, from);
    if (at == text.npos) break;
    parts.push_back(made(text.substr(from, at - from)));
    from = at + separator.size();
  }
  parts.push_back(made(text.substr(from)));
  return Value::list(std::move(parts));
}

Value rsplit(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("rsplit", arguments, {"sep", "maxsplit"});
  Budget& budget = evaluator.budget();
  std::string_view text = self.as_string();
  budget.charge_allocation(text.size());
  const std::int64_t limit = limit_of(given);
  std::vector<Value> parts;
  if (!given.has_some(0)) {
    text = strip_space(text, 2);
    while (!text.empty()) {
      charge_part(budget);
      if (static_cast<std::int64_t>(parts.size()) >= limit) {
        parts.push_back(made(text));
        break;
      }
      const std::size_t begin = last_word_begin(text);
      parts.push_back(made(text.substr(begin)));
      text = text.substr(0, last_space_end(text.substr(0, begin)));
    }
  } else {
    const std::string& separator = given.text(0);
    if (separator.empty()) raise("empty separator");
    // From the mirrored text, so that the search stays linear.
    const std::string mirrored(text.rbegin(), text.rend());
    const std::string mirrored_separator(separator.rbegin(), separator.rend());
    std::size_t from = 0;
    while (static_cast<std::int64_t>(parts.size()) < limit) {
      charge_part(budget);
      const std::size_t at = find_text(mirrored, mirrored_separator, from);
      if (at == text.npos) break;
      parts.push_back(made(text.substr(text.size() - at, at - from)));
      from = at + separator.size();
    }
    parts.push_back(made(text.substr(0, text.size() - from)));
  }
  std::reverse(parts.begin(), parts.end());
  return Value::list(std::move(parts));
}

Value splitlines(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("splitlines", arguments, {"keepends"});
  return Value::list(split_lines(self.as_string(), given.flag(0, false), evaluator.budget()));
}

Value partition(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("partition", arguments, {""}, 1);
  const std::string_view text = self.as_string();
  const std::string& separator = given.text(0);
  if (separator.empty()) raise("empty separator");
  evaluator.budget().charge_allocation(text.size());
  const std::size_t at = find_text(text, separator);
  if (at == text.npos) return Value::tuple({self, made(""), made("")});
  return Value::tuple({made(text.substr(0, at)), made(separator), made(text.substr(at + separator.size()))});
}

Value rpartition(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("rpartition", arguments, {""}, 1);
  const std::string_view text = self.as_string();
  const std::string& separator = given.text(0);
  if (separator.empty()) raise("empty separator");
  evaluator.budget().charge_allocation(text.size());
  const std::string mirrored(text.rbegin(), text.rend());
  const std::size_t found = find_text(mirrored, std::string(separator.rbegin(), separator.rend()));
  if (found == text.npos) return Value::tuple({made(""), made(""), self});
  const std::size_t at = text.size() - found - separator.size();
  return Value::tuple({made(text.substr(0, at)), made(separator), made(text.substr(at + separator.size()))});
}

// Bytes of the line break at the front (str.splitlines' set), or 0.
std::size_t line_break(std::string_view text) {
  if (text.starts_with("\r\n")) return 2;
  const CodePoint c = first_code_point(text);
  const bool breaks = (c.value >= 0x0A && c.value <= 0x0D) || (c.value >= 0x1C && c.value <= 0x1E) || c.value == 0x85 ||
                      c.value == 0x2028 || c.value == 0x2029;
  return breaks ? c.length : 0;
}

}  // namespace

MethodFunction find_string_split_method(std::string_view name) {
  if (name == "split") return split;
  if (name == "rsplit") return rsplit;
  if (name == "splitlines") return splitlines;
  if (name == "partition") return partition;
  if (name == "rpartition") return rpartition;
  return nullptr;
}

std::vector<Value> split_lines(std::string_view text, bool keep_ends, Budget& budget) {
  budget.charge_allocation(text.size());
  std::vector<Value> lines;
  for (std::size_t begin = 0, at = 0; at < text.size();) {
    const std::size_t width = line_break(text.substr(at));
    const bool last = width == 0 && at + utf8_length_of(text[at]) >= text.size();
    if (width == 0 && !last) {
      at += utf8_length_of(text[at]);
      continue;
    }
    const std::size_t end = last ? text.size() : at;
    at = last ? text.size() : at + width;
    charge_part(budget);
    lines.push_back(made(text.substr(begin, (keep_ends ? at : end) - begin)));
    begin = at;
  }
  return lines;
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  for (text = strip_space(text, 1); !text.empty(); text = strip_space(text, 1)) {
    const std::size_t end = first_word_end(text);
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return words;
}

std::string_view strip_chars(std::string_view text, std::string_view chars, int sides) {
  std::u32string wanted = to_code_points(chars);
  std::sort(wanted.begin(), wanted.end());
  const auto goes = [&](char32_t c) { return std::binary_search(wanted.begin(), wanted.end(), c); };
  while ((sides & 1) != 0 && !text.empty()) {
    const CodePoint c = first_code_point(text);
    if (!goes(c.value)) break;
    text.remove_prefix(std::max<std::size_t>(c.length, 1));
  }
  while ((sides & 2) != 0 && !text.empty()) {
    std::size_t at = text.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    if (!goes(first_code_point(text.substr(at)).value)) break;
    text.remove_suffix(text.size() - at);
  }
  return text;
}

std::string replace_text(std::string_view text, std::string_view old, std::string_view replacement, std::int64_t count,
                         Budget& budget) {
  if (count < 0) count = INT64_MAX;
  budget.charge_allocation(text.size() + old.size());
  std::string out;
  const auto put = [&](std::string_view part) {
    budget.charge(part.size());
    budget.check_size(out.size() + part.size());
    out += part;
  };
  if (old.empty()) {
    // Before each character and at the end.
    for (std::size_t at = 0; at <= text.size(); --count) {
      if (count == 0) {
        put(text.substr(at));
        break;
      }
      put(replacement);
      if (at == text.size()) break;
      const std::size_t length = utf8_length_of(text[at]);
      put(text.substr(at, length));
      at += length;
    }
    return out;
  }
  std::size_t from = 0;
  for (std::size_t at = 0; count > 0 && (at = find_text(text, old, from)) != text.npos; --count) {
    put(text.substr(from, at - from));
    put(replacement);
    from = at + old.size();
  }
  put(text.substr(from));
  return out;
}

std::string join_texts(std::string_view separator, const Value& items, std::string_view function, Budget& budget) {
  std::string out;
  const auto walk = iterate(items);
  bool first = true;
  std::size_t position = 0;
  for (Value item; walk->next(item); ++position) {
    if (!item.is_string()) {
      raise("{}(): sequence item {}: expected str instance, {} found", function, position, type_name(item));
    }
    if (!first) out += separator;
    first = false;
    out += item.as_string();
    budget.charge(kWorkOfANode + separator.size() + item.as_string().size());
    budget.check_size(out.size());
  }
  return out;
}

}  // namespace octavo::text::jinja
