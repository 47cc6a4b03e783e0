// The regular expressions of tokenizer files, run by PCRE2 (JIT) with a limit on effort.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "octavo/base/status.h"

namespace octavo::text {

// Immutable, cheap to copy, usable from any thread.
class Regex {
 public:
  static Result<Regex> compile(std::string_view oniguruma);  // Oniguruma's Ruby syntax, see onig_syntax.h
  static Result<Regex> literal(std::string_view text);       // matches the text itself

  class Scan;

 private:
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  static Result<Regex> make(std::string_view source, const std::string& pcre2, std::uint32_t options);
  std::shared_ptr<const Code> code_;
};

// The matches in a text, leftmost first. An empty match right behind the last match does not count.
class Regex::Scan {
 public:
  // `text` must be valid UTF-8 and outlive the scan.
  Scan(const Regex& regex, std::string_view text);
  ~Scan();
  Scan(const Scan&) = delete;
  Scan& operator=(const Scan&) = delete;

  // Goes to the next match; false at the end. An error when the expression exceeds its limits.
  Result<bool> next();
  std::size_t begin() const { return begin_; }
  std::size_t end() const { return end_; }

 private:
  struct State;
  const Code& code_;
  std::string_view text_;
  std::unique_ptr<State> state_;
  std::size_t from_ = 0;
  std::size_t begin_ = 0, end_ = 0;
  bool matched_ = false;
};

}  // namespace octavo::text
