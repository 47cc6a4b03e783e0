// Parses statements: one function a tag.
#include "octavo/text/jinja/parser.h"

#include <algorithm>
#include <string>
#include <vector>

#include "octavo/text/jinja/error.h"
#include "octavo/text/jinja/expression_parser.h"
#include "octavo/text/jinja/token_stream.h"

namespace octavo::text::jinja {

Stmt::Stmt(StmtKind k, int l) : kind(k), line(l) {}
Stmt::~Stmt() = default;

namespace {

using StmtPtr = std::unique_ptr<Stmt>;
using EndTags = std::vector<std::string_view>;

constexpr int kMaxBlocks = 50;  // nested; CPython allows what jinja2 makes of 20 nested loops

class Parser {
 public:
  explicit Parser(std::string_view source) : stream_(tokenize(source)), expressions_(stream_) {}

  Program run() {
    Program program;
    program.body = body({});
    return program;
  }

 private:
  // What a tag is inside of: decides whether {% break %} has a loop to leave.
  struct Surroundings {
    bool in_loop = false;
  };

  Body body(const EndTags& ends) {
    Body result;
    StmtPtr output;
    const auto print = [&](ExprPtr value) {
      if (output == nullptr) output = std::make_unique<Stmt>(StmtKind::kOutput, value->line);
      output->values.push_back(std::move(value));
    };
    const auto flush = [&] {
      if (output != nullptr) result.push_back(std::move(output));
    };
    while (!stream_.at_end()) {
      const Token& token = stream_.current();
      if (token.kind == TokenKind::kData) {
        auto text = std::make_unique<Expr>(ExprKind::kConst, token.line);
        text->constant = Value::string(token.text);
        print(std::move(text));
        stream_.next();
      } else if (token.kind == TokenKind::kVariableBegin) {
        stream_.next();
        print(expressions_.tuple());
        stream_.expect(TokenKind::kVariableEnd, "end of print statement");
      } else {
        flush();
        stream_.next();  // {%
        if (stream_.sees(TokenKind::kName) &&
            std::find(ends.begin(), ends.end(), stream_.current().text) != ends.end()) {
          return result;
        }
        if (StmtPtr made = statement()) result.push_back(std::move(made));
        stream_.expect(TokenKind::kBlockEnd, "end of statement block");
      }
    }
    flush();
    if (!ends.empty()) fail_at_end(ends);
    return result;
  }

  // The body of a tag up to one of `ends`, which becomes the current token.
  Body statements(const EndTags& ends) {
    stream_.skip_operator(":");  // as in Python
    stream_.expect(TokenKind::kBlockEnd, "end of statement block");
    open_ends_.push_back(ends);
    Body result = body(ends);
    open_ends_.pop_back();
    return result;
  }
  Body statements_and_end(std::string_view end) {
    Body result = statements({end});
    stream_.next();
    return result;
  }

  static std::string quoted_list(const EndTags& ends) {
    std::string text;
    for (const std::string_view end : ends) text += fmt::format("{}'{}'", text.empty() ? "" : " or ", end);
    return text;
  }
  std::string innermost() const {
    if (open_tags_.empty()) return "";
    return fmt::format(" The innermost block that needs to be closed is '{}'.", open_tags_.back());
  }
  [[noreturn]] void fail_at_end(const EndTags& ends) const {
    raise_at(stream_.current().line, "Unexpected end of template. Jinja was looking for the following tags: {}.{}",
             quoted_list(ends), innermost());
  }
  [[noreturn]] void fail_unknown(const Token& tag) const {
    std::string wanted;
    if (!open_ends_.empty()) {
      wanted = fmt::format(" Jinja was looking for the following tags: {}.", quoted_list(open_ends_.back()));
    }
    raise_at(tag.line, "Encountered unknown tag '{}'.{}{}", tag.text, wanted, innermost());
  }

  StmtPtr statement() {
    const Token tag = stream_.current();
    if (tag.kind != TokenKind::kName) raise_at(tag.line, "tag name expected");
    static constexpr struct {
      std::string_view name;
      StmtPtr (Parser::*parse)();
    } kTags[] = {
        {"for", &Parser::parse_for},
        {"if", &Parser::parse_if},
        {"set", &Parser::parse_set},
        {"with", &Parser::parse_with},
        {"macro", &Parser::parse_macro},
        {"call", &Parser::parse_call},
        {"filter", &Parser::parse_filter},
        {"print", &Parser::parse_print},
        {"block", &Parser::parse_block},
        {"autoescape", &Parser::parse_autoescape},
        {"generation", &Parser::parse_generation},
        {"break", &Parser::parse_jump},
        {"continue", &Parser::parse_jump},
        {"include", &Parser::refuse},
        {"import", &Parser::refuse},
        {"from", &Parser::refuse},
        {"extends", &Parser::refuse},
    };
    for (const auto& known : kTags) {
      if (known.name != tag.text) continue;
      if (open_tags_.size() == kMaxBlocks) raise_at(tag.line, "more than {} nested blocks", kMaxBlocks);
      open_tags_.push_back(tag.text);
      StmtPtr made = (this->*known.parse)();
      open_tags_.pop_back();
      return made;
    }
    fail_unknown(tag);
  }

  StmtPtr begin(StmtKind kind) { return std::make_unique<Stmt>(kind, stream_.next().line); }

  StmtPtr refuse() {
    const Token& tag = stream_.current();
    raise_at(tag.line, "{{% {} %}} needs other templates; a chat template stands alone", tag.text);
  }

  StmtPtr parse_for() {
    StmtPtr node = begin(StmtKind::kFor);
    node->targets.push_back(expressions_.target(/*with_namespace=*/false, "in"));
    stream_.expect_name("in");
    node->values.push_back(expressions_.tuple(/*with_condition=*/false, "recursive"));
    if (stream_.skip_name("if")) node->test = expressions_.expression();
    node->recursive = stream_.skip_name("recursive");
    const Surroundings outer = std::exchange(here_, {.in_loop = true});
    node->bodies.push_back(statements({"endfor", "else"}));
    // The else belongs to what surrounds the loop; of a recursive loop all is a function.
    here_ = node->recursive ? Surroundings{} : outer;
    if (stream_.next().text == "else") {
      node->has_else = true;
      node->bodies.push_back(statements_and_end("endfor"));
    }
    here_ = outer;
    return node;
  }

  StmtPtr parse_if() {
    StmtPtr node = begin(StmtKind::kIf);
    while (true) {
      node->values.push_back(expressions_.tuple(/*with_condition=*/false));
      node->bodies.push_back(statements({"elif", "else", "endif"}));
      const Token end = stream_.next();
      if (end.text == "elif") continue;
      if (end.text == "else") {
        node->has_else = true;
        node->bodies.push_back(statements_and_end("endif"));
      }
      return node;
    }
  }

  StmtPtr parse_set() {
    StmtPtr node = begin(StmtKind::kSet);
    node->targets.push_back(expressions_.target(/*with_namespace=*/true));
    if (stream_.skip_operator("=")) {
      node->values.push_back(expressions_.tuple());
      return node;
    }
    node->kind = StmtKind::kSetBlock;
    if (stream_.sees_operator("|")) {
      const int line = stream_.current().line;
      node->filter = expressions_.filters(std::make_unique<Expr>(ExprKind::kCaptured, line), /*inline_start=*/false);
    }
    node->bodies.push_back(statements_and_end("endset"));
    return node;
  }

  StmtPtr parse_with() {
    StmtPtr node = begin(StmtKind::kWith);
    while (!stream_.sees(TokenKind::kBlockEnd)) {
      if (!node->targets.empty()) stream_.expect_operator(",");
      node->targets.push_back(expressions_.target(/*with_namespace=*/false));
      stream_.expect_operator("=");
      node->values.push_back(expressions_.expression());
    }
    node->bodies.push_back(statements_and_end("endwith"));
    return node;
  }

  void parse_signature(Signature& signature) {
    stream_.expect_operator("(");
    while (!stream_.sees_operator(")")) {
      if (!signature.parameters.empty()) stream_.expect_operator(",");
      ExprPtr parameter = expressions_.name_target();
      for (const ExprPtr& other : signature.parameters) {
        if (other->text == parameter->text) raise_at(parameter->line, "duplicate argument '{}'", parameter->text);
      }
      if (stream_.skip_operator("=")) {
        signature.defaults.push_back(expressions_.expression());
      } else if (!signature.defaults.empty()) {
        raise_at(stream_.current().line, "non-default argument follows default argument");
      }
      signature.parameters.push_back(std::move(parameter));
    }
    stream_.expect_operator(")");
  }

  // The body of a function: no loop around it can be left from within.
  void parse_function_body(Stmt& node, std::string_view end) {
    const Surroundings outer = std::exchange(here_, {});
    node.bodies.push_back(statements_and_end(end));
    here_ = outer;
  }

  StmtPtr parse_macro() {
    StmtPtr node = begin(StmtKind::kMacro);
    node->signature = std::make_unique<Signature>();
    node->targets.push_back(expressions_.name_target());
    node->signature->name = node->targets.front()->text;
    parse_signature(*node->signature);
    parse_function_body(*node, "endmacro");
    return node;
  }

  StmtPtr parse_call() {
    StmtPtr node = begin(StmtKind::kCallBlock);
    node->signature = std::make_unique<Signature>();
    if (stream_.sees_operator("(")) parse_signature(*node->signature);
    node->values.push_back(expressions_.expression());
    if (node->values.front()->kind != ExprKind::kCall) raise_at(node->line, "expected call");
    parse_function_body(*node, "endcall");
    return node;
  }

  StmtPtr parse_filter() {
    StmtPtr node = begin(StmtKind::kFilterBlock);
    node->filter = expressions_.filters(nullptr, /*inline_start=*/true);
    node->bodies.push_back(statements_and_end("endfilter"));
    return node;
  }

  StmtPtr parse_print() {
    StmtPtr node = begin(StmtKind::kOutput);
    while (!stream_.sees(TokenKind::kBlockEnd)) {
      if (!node->values.empty()) stream_.expect_operator(",");
      node->values.push_back(expressions_.expression());
    }
    return node;
  }

  StmtPtr parse_block() {
    StmtPtr node = begin(StmtKind::kScope);
    const std::string name = stream_.expect(TokenKind::kName, "name").text;
    node->isolated = !stream_.skip_name("scoped");
    if (stream_.sees_name("required")) raise_at(node->line, "a required block needs a template that extends this one");
    if (std::find(blocks_.begin(), blocks_.end(), name) != blocks_.end()) {
      raise_at(node->line, "block '{}' defined twice", name);
    }
    blocks_.push_back(name);
    parse_function_body(*node, "endblock");
    stream_.skip_name(name);
    return node;
  }

  StmtPtr parse_autoescape() {
    StmtPtr node = begin(StmtKind::kScope);
    const ExprPtr on = expressions_.expression();
    if (on->kind != ExprKind::kConst || truthy(on->constant)) {
      raise_at(node->line, "autoescape is not supported: a prompt is not HTML");
    }
    node->bodies.push_back(statements_and_end("endautoescape"));
    return node;
  }

  StmtPtr parse_generation() {
    StmtPtr node = begin(StmtKind::kGeneration);
    parse_function_body(*node, "endgeneration");
    return node;
  }

  StmtPtr parse_jump() {
    const Token tag = stream_.current();
    if (!here_.in_loop) raise_at(tag.line, "'{}' outside loop", tag.text);
    return begin(tag.text == "break" ? StmtKind::kBreak : StmtKind::kContinue);
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  Surroundings here_;
  std::vector<std::string> open_tags_;
  std::vector<EndTags> open_ends_;
  std::vector<std::string> blocks_;
};

}  // namespace

Program parse(std::string_view source) { return Parser(source).run(); }

}  // namespace octavo::text::jinja
