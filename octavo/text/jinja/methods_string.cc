// Methods of str: case, classes, searching, padding, formatting.
#include <algorithm>
#include <functional>

#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/format.h"
#include "octavo/text/jinja/methods.h"
#include "octavo/text/jinja/parameters.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

Value made(std::string text) { return Value::string(std::move(text)); }

template <std::string (*kMap)(std::string_view)>
Value mapped(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters none("str method", arguments, {});
  evaluator.budget().charge_allocation(self.as_string().size());
  return made(kMap(self.as_string()));
}

// All characters are of a class, and there is one.
template <bool (*kIs)(char32_t)>
Value all_are(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters none("str method", arguments, {});
  evaluator.budget().charge(self.as_string().size());
  const std::u32string all = to_code_points(self.as_string());
  return Value::boolean(!all.empty() && std::all_of(all.begin(), all.end(), kIs));
}

bool is_alphanumeric(char32_t c) { return is_alphabetic(c) || is_decimal(c) || is_digit(c) || is_numeric_char(c); }

Value is_ascii_text(Evaluator&, const Value& self, const Arguments& arguments) {
  const Parameters none("isascii", arguments, {});
  return Value::boolean(self.is_ascii());
}

Value is_printable_text(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters none("isprintable", arguments, {});
  evaluator.budget().charge(self.as_string().size());
  const std::u32string all = to_code_points(self.as_string());
  return Value::boolean(std::all_of(all.begin(), all.end(), is_printable));
}

Value is_identifier(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters none("isidentifier", arguments, {});
  evaluator.budget().charge(self.as_string().size());
  const std::u32string all = to_code_points(self.as_string());
  return Value::boolean(!all.empty() && is_identifier_start(all[0]) &&
                        std::all_of(all.begin(), all.end(), is_identifier_part));
}

// All that has a case has the wanted one, and something has.
bool has_case(std::string_view text, bool (*wanted)(char32_t)) {
  bool any = false;
  for (const char32_t c : to_code_points(text)) {
    if (!is_cased(c)) continue;
    if (!wanted(c)) return false;
    any = true;
  }
  return any;
}

Value is_lower_text(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters none("islower", arguments, {});
  evaluator.budget().charge(self.as_string().size());
  return Value::boolean(has_case(self.as_string(), is_lower));
}

Value is_upper_text(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters none("isupper", arguments, {});
  evaluator.budget().charge(self.as_string().size());
  return Value::boolean(has_case(self.as_string(), is_upper));
}

Value is_title_text(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters none("istitle", arguments, {});
  evaluator.budget().charge(self.as_string().size());
  bool any = false, in_word = false;
  for (const char32_t c : to_code_points(self.as_string())) {
    if (is_upper(c) || is_title(c)) {
      if (in_word) return Value::boolean(false);
      any = in_word = true;
    } else if (is_lower(c)) {
      if (!in_word) return Value::boolean(false);
      any = true;
    } else {
      in_word = false;
    }
  }
  return Value::boolean(any);
}

// ---- searching

// The part of a text that [start:end] selects.
struct Window {
  std::string_view text;
  std::int64_t start = 0;  // in characters
  bool valid = true;       // false: start is behind the end of the text
};

Window window(const Value& self, const Parameters& given, std::size_t first) {
  const std::int64_t size = length_of(self);
  const auto bound = [&](std::size_t i, std::int64_t otherwise) {
    if (!given.has_some(i)) return otherwise;
    const std::int64_t at = given.integer(i, 0);
    return at < 0 ? std::max<std::int64_t>(at + size, 0) : at;
  };
  Window result;
  result.start = bound(first, 0);
  const std::int64_t end = std::min(bound(first + 1, size), size);
  if (result.start > end) {
    result.valid = false;
    return result;
  }
  const std::string_view text = self.as_string();
  const std::size_t from = byte_of_char(text, static_cast<std::size_t>(result.start));
  result.text = text.substr(from);
  result.text = result.text.substr(0, byte_of_char(result.text, static_cast<std::size_t>(end - result.start)));
  return result;
}

// The last occurrence, in time linear in the two: a search through the mirrored texts.
std::size_t find_last(std::string_view text, std::string_view wanted) {
  if (wanted.empty()) return text.size();
  const std::string mirrored(text.rbegin(), text.rend());
  const std::string mirrored_wanted(wanted.rbegin(), wanted.rend());
  const std::size_t at = find_text(mirrored, mirrored_wanted);
  return at == std::string::npos ? at : text.size() - at - wanted.size();
}

std::int64_t find_in(Evaluator& evaluator, std::string_view name, const Value& self, const Arguments& arguments,
                     bool last) {
  const Parameters given(name, arguments, {"", "", ""}, 1);
  const std::string& wanted = given.text(0);
  evaluator.budget().charge(2 * self.as_string().size() + wanted.size());
  const Window in = window(self, given, 1);
  if (!in.valid) return -1;
  const std::size_t at = last ? find_last(in.text, wanted) : find_text(in.text, wanted);
  if (at == std::string::npos) return -1;
  return in.start + static_cast<std::int64_t>(count_chars(in.text.substr(0, at)));
}

Value find(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return Value::integer(find_in(evaluator, "find", self, arguments, false));
}
Value rfind(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return Value::integer(find_in(evaluator, "rfind", self, arguments, true));
}
Value index(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const std::int64_t at = find_in(evaluator, "index", self, arguments, false);
  if (at < 0) raise("substring not found");
  return Value::integer(at);
}
Value rindex(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const std::int64_t at = find_in(evaluator, "rindex", self, arguments, true);
  if (at < 0) raise("substring not found");
  return Value::integer(at);
}

Value count(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("count", arguments, {"", "", ""}, 1);
  const std::string& wanted = given.text(0);
  evaluator.budget().charge(self.as_string().size() + wanted.size());
  const Window in = window(self, given, 1);
  if (!in.valid) return Value::integer(0);
  if (wanted.empty()) return Value::integer(static_cast<std::int64_t>(count_chars(in.text)) + 1);
  std::int64_t found = 0;
  for (std::size_t at = 0; (at = find_text(in.text, wanted, at)) != std::string::npos; at += wanted.size()) ++found;
  return Value::integer(found);
}

Value affix(Evaluator& evaluator, std::string_view name, const Value& self, const Arguments& arguments, bool front) {
  const Parameters given(name, arguments, {"", "", ""}, 1);
  evaluator.budget().charge(self.as_string().size() / 8);
  const auto matches = [&](const Value& candidate) {
    if (!candidate.is_string()) {
      raise("{} first arg must be str or a tuple of str, not {}", name, type_name(candidate));
    }
    const Window in = window(self, given, 1);
    if (!in.valid) return false;
    return front ? in.text.starts_with(candidate.as_string()) : in.text.ends_with(candidate.as_string());
  };
  const Value& wanted = given.at(0);
  if (!wanted.is(Kind::kTuple)) return Value::boolean(matches(wanted));
  for (const Value& candidate : wanted.items()) {
    evaluator.budget().charge(kWorkOfANode + self.as_string().size() / 8);
    if (matches(candidate)) return Value::boolean(true);
  }
  return Value::boolean(false);
}
Value starts_with(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return affix(evaluator, "startswith", self, arguments, true);
}
Value ends_with(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return affix(evaluator, "endswith", self, arguments, false);
}

// ---- changing

Value remove_prefix(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("removeprefix", arguments, {""}, 1);
  evaluator.budget().charge_allocation(self.as_string().size());
  const std::string& text = self.as_string();
  return made(text.starts_with(given.text(0)) ? text.substr(given.text(0).size()) : text);
}
Value remove_suffix(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("removesuffix", arguments, {""}, 1);
  evaluator.budget().charge_allocation(self.as_string().size());
  const std::string& text = self.as_string();
  return made(text.ends_with(given.text(0)) ? text.substr(0, text.size() - given.text(0).size()) : text);
}

Value strip_sides(Evaluator& evaluator, const Value& self, const Arguments& arguments, int sides) {
  const Parameters given("strip", arguments, {""});
  evaluator.budget().charge_allocation(self.as_string().size());
  const std::string& text = self.as_string();
  if (!given.has_some(0)) return made(std::string(strip_space(text, sides)));
  evaluator.budget().charge(given.text(0).size());
  return made(std::string(strip_chars(text, given.text(0), sides)));
}
Value lstrip(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return strip_sides(evaluator, self, arguments, 1);
}
Value rstrip(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return strip_sides(evaluator, self, arguments, 2);
}
Value strip(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return strip_sides(evaluator, self, arguments, 3);
}

Value replace(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("replace", arguments, {"", "", ""}, 2);
  return made(replace_text(self.as_string(), given.text(0), given.text(1), given.integer(2, -1), evaluator.budget()));
}

Value justify(Evaluator& evaluator, const Value& self, const Arguments& arguments, char align) {
  const Parameters given("center", arguments, {"", ""}, 1);
  const std::string fill = given.has(1) ? given.text(1) : " ";
  if (count_chars(fill) != 1) raise("The fill character must be exactly one character long");
  const std::int64_t missing = given.integer(0, 0) - length_of(self);
  if (missing <= 0) return self;
  Budget& budget = evaluator.budget();
  if (missing > static_cast<std::int64_t>(budget.limits().bytes)) budget.charge_allocation(UINT64_MAX);
  const auto total = static_cast<std::size_t>(missing);
  budget.charge_allocation(total * fill.size() + self.as_string().size());
  // CPython's centre: the odd one goes left where both the margin and the width are odd.
  const std::size_t left = align == '<'   ? 0
                           : align == '>' ? total
                                          : total / 2 + (total & static_cast<std::size_t>(given.integer(0, 0)) & 1);
  std::string out;
  for (std::size_t i = 0; i < left; ++i) out += fill;
  out += self.as_string();
  for (std::size_t i = left; i < total; ++i) out += fill;
  return made(std::move(out));
}
Value center(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return justify(evaluator, self, arguments, '^');
}
Value ljust(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return justify(evaluator, self, arguments, '<');
}
Value rjust(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return justify(evaluator, self, arguments, '>');
}

Value zfill(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("zfill", arguments, {""}, 1);
  const std::string& text = self.as_string();
  FormatSpec spec;
  spec.fill = "0";
  spec.align = '>';
  spec.width = std::min<std::int64_t>(given.integer(0, 0), INT32_MAX);
  const bool sign = text.starts_with('+') || text.starts_with('-');
  if (sign) spec.width -= 1;
  return made(text.substr(0, sign ? 1 : 0) + pad(text.substr(sign ? 1 : 0), spec, '>', evaluator.budget()));
}

Value expand_tabs(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("expandtabs", arguments, {"tabsize"});
  const std::int64_t size = std::min<std::int64_t>(given.integer(0, 8), INT32_MAX);
  std::string out;
  std::int64_t column = 0;
  for (const char32_t c : to_code_points(self.as_string())) {
    if (c == '\t') {
      if (size <= 0) continue;
      const std::int64_t spaces = size - column % size;
      evaluator.budget().charge_allocation(out.size() + static_cast<std::uint64_t>(spaces));
      out.append(static_cast<std::size_t>(spaces), ' ');
      column += spaces;
    } else {
      append_utf8(out, c);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  evaluator.budget().charge_allocation(out.size());
  return made(std::move(out));
}

Value join(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("join", arguments, {""}, 1);
  return made(join_texts(self.as_string(), given.at(0), "join", evaluator.budget()));
}

Value format(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  return made(format_braces(self.as_string(), arguments, nullptr, evaluator));
}
Value format_map(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Parameters given("format_map", arguments, {""}, 1);
  return made(format_braces(self.as_string(), {}, &given.at(0), evaluator));
}

Value refuse(Evaluator&, const Value&, const Arguments&) {
  raise("str.encode, str.translate and str.maketrans are not supported");
}

struct Method {
  std::string_view name;
  MethodFunction function;
};
constexpr Method kMethods[] = {
    {"capitalize", mapped<capitalize>},
    {"casefold", mapped<fold_case>},
    {"center", center},
    {"count", count},
    {"encode", refuse},
    {"endswith", ends_with},
    {"expandtabs", expand_tabs},
    {"find", find},
    {"format", format},
    {"format_map", format_map},
    {"index", index},
    {"isalnum", all_are<is_alphanumeric>},
    {"isalpha", all_are<is_alphabetic>},
    {"isascii", is_ascii_text},
    {"isdecimal", all_are<is_decimal>},
    {"isdigit", all_are<is_digit>},
    {"isidentifier", is_identifier},
    {"islower", is_lower_text},
    {"isnumeric", all_are<is_numeric_char>},
    {"isprintable", is_printable_text},
    {"isspace", all_are<is_space>},
    {"istitle", is_title_text},
    {"isupper", is_upper_text},
    {"join", join},
    {"ljust", ljust},
    {"lower", mapped<lower>},
    {"lstrip", lstrip},
    {"maketrans", refuse},
    {"removeprefix", remove_prefix},
    {"removesuffix", remove_suffix},
    {"replace", replace},
    {"rfind", rfind},
    {"rindex", rindex},
    {"rjust", rjust},
    {"rstrip", rstrip},
    {"startswith", starts_with},
    {"strip", strip},
    {"swapcase", mapped<swap_case>},
    {"title", mapped<title>},
    {"translate", refuse},
    {"upper", mapped<upper>},
    {"zfill", zfill},
};

}  // namespace

MethodFunction find_string_method(std::string_view name) {
  const auto at = std::lower_bound(std::begin(kMethods), std::end(kMethods), name,
                                   [](const Method& method, std::string_view wanted) { return method.name < wanted; });
  if (at != std::end(kMethods) && at->name == name) return at->function;
  return find_string_split_method(name);
}

}  // namespace octavo::text::jinja
