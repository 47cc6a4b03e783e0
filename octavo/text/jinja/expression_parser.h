// Parses expressions: Python's grammar as far as jinja2 has it, with filters and tests.
#pragma once

#include <memory>
#include <string_view>

#include "octavo/text/jinja/ast.h"
#include "octavo/text/jinja/token_stream.h"

namespace octavo::text::jinja {

// Deeper trees are refused: walking them recurses. CPython refuses what jinja2 makes of 200 nested brackets.
constexpr int kMaxTreeDepth = 300;
constexpr int kMaxBrackets = 200;  // a bracket counts twice: itself and the expression in it

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}

  ExprPtr expression(bool with_condition = true);
  // One expression, or a tuple where commas follow. `end_name` (in, recursive) ends it too.
  ExprPtr tuple(bool with_condition = true, std::string_view end_name = "", bool parenthesized = false);
  // What may stand left of "=" or behind "for".
  ExprPtr target(bool with_namespace, std::string_view end_name = "");
  ExprPtr name_target();
  // Filters behind `input`; starts at the name rather than at "|" when `inline_start`.
  ExprPtr filters(ExprPtr input, bool inline_start);

 private:
  ExprPtr condition();
  ExprPtr logical_or();
  ExprPtr logical_and();
  ExprPtr logical_not();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters);
  ExprPtr primary(bool with_namespace);
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr node);
  ExprPtr filters_and_tests(ExprPtr node);
  ExprPtr subscript(ExprPtr node);
  ExprPtr bracketed(ExprPtr node, int line);
  ExprPtr call(ExprPtr node);
  ExprPtr test(ExprPtr node);
  std::unique_ptr<CallArguments> call_arguments();
  std::string dotted_name();

  class Bracket;  // counts open brackets while it lives
  TokenStream& stream_;
  int brackets_ = 0;
};

}  // namespace octavo::text::jinja
