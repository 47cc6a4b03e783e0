// The parser's place in the tokens.
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "octavo/text/jinja/error.h"
#include "octavo/text/jinja/lexer.h"

namespace octavo::text::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) { check(); }

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() {  // the one behind the current
    const std::size_t next = at_ + 1 < tokens_.size() ? at_ + 1 : at_;
    if (tokens_[next].kind == TokenKind::kError) raise_at(tokens_[next].line, "{}", tokens_[next].text);
    return tokens_[next];
  }
  bool at_end() const { return current().kind == TokenKind::kEnd; }
  bool sees(TokenKind kind) const { return current().kind == kind; }
  bool sees_name(std::string_view name) const { return current().is_name(name); }
  bool sees_operator(std::string_view symbol) const { return current().is_operator(symbol); }

  // Goes on and returns the token gone over.
  const Token& next() {
    const Token& token = current();
    if (at_ + 1 < tokens_.size()) ++at_;
    check();
    return token;
  }
  bool skip_name(std::string_view name) { return sees_name(name) && (next(), true); }
  bool skip_operator(std::string_view symbol) { return sees_operator(symbol) && (next(), true); }

  const Token& expect(TokenKind kind, std::string_view described) {
    if (!sees(kind)) unexpected(described);
    return next();
  }
  const Token& expect_name(std::string_view name) {
    if (!sees_name(name)) unexpected(name);
    return next();
  }
  const Token& expect_operator(std::string_view symbol) {
    if (!sees_operator(symbol)) unexpected(symbol);
    return next();
  }

 private:
  // An error of the lexer is raised where the parser would take the token that is not there.
  void check() const {
    if (current().kind == TokenKind::kError) raise_at(current().line, "{}", current().text);
  }
  [[noreturn]] void unexpected(std::string_view wanted) const {
    if (at_end()) raise_at(current().line, "unexpected end of template, expected '{}'", wanted);
    raise_at(current().line, "expected token '{}', got '{}'", wanted, describe(current()));
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

}  // namespace octavo::text::jinja
