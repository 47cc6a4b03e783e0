// Foreign patterns to Octavo's.
#include "octavo/dialect/patterns.h"

#include <fmt/format.h>

#include <cctype>

#include "octavo/base/name_matcher.h"

namespace octavo::dialect {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Whether P = A L T, with L a run of word characters that is no part of "weight", T one of "", ".*" and "$", and A
// without top-level alternatives, look-around or back references. L then lies inside the module's part of
// "MODULE.weight", so A L matches the module's name too; and with T = "$" the weight's name cannot match.
bool same_on_weights(std::string_view p) {
  if (p.ends_with(".*")) {
    p.remove_suffix(2);
  } else if (p.ends_with('$') && !p.ends_with("\\$")) {
    p.remove_suffix(1);
  }
  std::size_t begin = p.size();
  while (begin > 0 && is_word(p[begin - 1])) --begin;
  const std::string_view before = p.substr(0, begin);
  if (begin > 0 && p[begin - 1] == '\\') ++begin;  // \w, \d: no literal
  const std::string_view run = p.substr(begin < p.size() ? begin : p.size());
  if (run.empty() || std::string_view("weight").find(run) != std::string_view::npos) return false;
  int depth = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const char c = before[i];
    if (c == '\\') {
      if (i + 1 < before.size() && std::isdigit(static_cast<unsigned char>(before[i + 1])) != 0) return false;
      ++i;
    } else if (c == '(') {
      const bool plain = before.substr(i, 3) == "(?:" || before.substr(i + 1, 1) != "?";
      if (!plain) return false;
      ++depth;
    } else if (c == ')') {
      --depth;
    } else if (c == '[') {
      const std::size_t end = before.find(']', i + 2);
      if (end == std::string_view::npos) return false;
      i = end;
    } else if (c == '|' && depth == 0) {
      return false;
    }
  }
  return depth == 0;
}

}  // namespace

std::string substring_pattern(std::string_view entry) {
  if (entry == "lm_head") return std::string(entry);  // by its name the head is known even where it is tied
  std::string out = "*";
  for (const char c : entry) {
    if (c == '*' || c == '?' || c == '[') {
      out += {'[', c, ']'};
    } else {
      out += c;
    }
  }
  return out + "*";
}

std::string module_regex(std::string_view entry) {
  const std::string_view p = entry.substr(3);  // "re:"
  if (same_on_weights(p)) return std::string(entry);
  return fmt::format("re:(?!.*\\.weight$)(?:{})", p);
}

Result<bool> pattern_matches(const std::string& pattern, std::string_view name) {
  OCTAVO_ASSIGN(const NameMatcher matcher, NameMatcher::compile({pattern}, /*globs=*/true));
  return matcher.matches(name);
}

}  // namespace octavo::dialect
