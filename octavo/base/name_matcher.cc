// Name lists on PCRE2, with a limit on effort so that a hostile pattern ends.
#include "octavo/base/name_matcher.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "octavo/base/text.h"

namespace octavo {
namespace {

constexpr std::uint32_t kMatchLimit = 1'000'000;  // backtracking steps for one name
constexpr std::uint32_t kDepthLimit = 10'000;

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

// A compiled expression; immutable, so usable from any thread.
class NameMatcher::Regex {
 public:
  static Result<std::shared_ptr<const Regex>> compile(std::string_view expression) {
    int code = 0;
    std::size_t offset = 0;
    pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                                         PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &code, &offset, nullptr);
    if (compiled == nullptr) {
      return usage_error("pattern \"re:{}\": {} at character {}", printable(expression), pcre2_message(code), offset);
    }
    return std::shared_ptr<const Regex>(new Regex(compiled, std::string(expression)));
  }
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;
  ~Regex() {
    pcre2_match_context_free(limits_);
    pcre2_code_free(code_);
  }

  Result<bool> match(std::string_view name) const {
    pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
    const int code = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0, data, limits_);
    pcre2_match_data_free(data);
    if (code >= 0) return true;
    if (code == PCRE2_ERROR_NOMATCH) return false;
    return failure("pattern \"re:{}\" on \"{}\": {}", printable(expression_), printable(name), pcre2_message(code));
  }

 private:
  Regex(pcre2_code* code, std::string expression)
      : code_(code), limits_(pcre2_match_context_create(nullptr)), expression_(std::move(expression)) {
    pcre2_set_match_limit(limits_, kMatchLimit);
    pcre2_set_depth_limit(limits_, kDepthLimit);
  }
  pcre2_code* code_;
  pcre2_match_context* limits_;
  std::string expression_;
};

Result<NameMatcher> NameMatcher::compile(const std::vector<std::string>& entries, bool globs) {
  NameMatcher out;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::string& entry = entries[i];
    if (entry.starts_with("re:")) {
      OCTAVO_ASSIGN(auto regex, Regex::compile(std::string_view(entry).substr(3)));
      out.patterns_.push_back({i, "", std::move(regex)});
    } else if (globs && entry.find_first_of("*?[") != std::string::npos) {
      out.patterns_.push_back({i, entry, nullptr});
    } else {
      out.exact_.try_emplace(entry, i);
    }
  }
  return out;
}

Result<std::optional<std::size_t>> NameMatcher::first_match(std::string_view name) const {
  std::optional<std::size_t> found;
  if (const auto it = exact_.find(std::string(name)); it != exact_.end()) found = it->second;
  for (const Pattern& pattern : patterns_) {
    if (found && *found < pattern.index) break;
    bool hit = false;
    if (pattern.regex) {
      OCTAVO_ASSIGN(hit, pattern.regex->match(name));
    } else {
      hit = glob_match(pattern.glob, name);
    }
    if (hit) {
      found = pattern.index;
      break;
    }
  }
  return found;
}

Result<bool> NameMatcher::matches(std::string_view name) const {
  OCTAVO_ASSIGN(const auto index, first_match(name));
  return index.has_value();
}

}  // namespace octavo
