// The expression grammar, one function a level of precedence, lowest first.
#include "octavo/text/jinja/expression_parser.h"

#include <algorithm>
#include <optional>

namespace octavo::text::jinja {
namespace {

void check_depth(const Expr& node) {
  if (node.depth > kMaxTreeDepth) raise_at(node.line, "an expression of more than {} nested operations", kMaxTreeDepth);
}

void grow(Expr& node, const Expr* child) {
  if (child != nullptr) node.depth = std::max(node.depth, child->depth + 1);
  check_depth(node);
}

void adopt(Expr& node, ExprPtr child) {
  grow(node, child.get());
  node.children.push_back(std::move(child));
}

template <typename... Children>
ExprPtr make(ExprKind kind, int line, Children... children) {
  auto node = std::make_unique<Expr>(kind, line);
  (adopt(*node, std::move(children)), ...);
  return node;
}

template <typename... Children>
ExprPtr operation(ExprKind kind, Op op, int line, Children... children) {
  auto node = make(kind, line, std::move(children)...);
  node->op = op;
  return node;
}

ExprPtr constant(Value value, int line) {
  auto node = std::make_unique<Expr>(ExprKind::kConst, line);
  node->constant = std::move(value);
  return node;
}

void adopt_arguments(Expr& node, std::unique_ptr<CallArguments> call) {
  for (const ExprPtr& argument : call->positional) grow(node, argument.get());
  for (const auto& [name, argument] : call->named) grow(node, argument.get());
  grow(node, call->spread.get());
  grow(node, call->spread_named.get());
  node.call = std::move(call);
}

std::optional<Op> comparison_operator(const Token& token) {
  if (token.kind != TokenKind::kOperator) return std::nullopt;
  if (token.text == "==") return Op::kEqual;
  if (token.text == "!=") return Op::kNotEqual;
  if (token.text == "<") return Op::kLess;
  if (token.text == "<=") return Op::kLessEqual;
  if (token.text == ">") return Op::kGreater;
  if (token.text == ">=") return Op::kGreaterEqual;
  return std::nullopt;
}

std::string_view node_name(ExprKind kind) {
  switch (kind) {
    case ExprKind::kConst: return "const";
    case ExprKind::kTuple: return "tuple";
    case ExprKind::kList: return "list";
    case ExprKind::kDict: return "dict";
    case ExprKind::kAttribute: return "getattr";
    case ExprKind::kItem:
    case ExprKind::kSlice: return "getitem";
    case ExprKind::kCall: return "call";
    case ExprKind::kFilter: return "filter";
    default: return "expression";
  }
}

// Marks names in `node` as stored to; false where it cannot be assigned to.
bool make_target(Expr& node) {
  switch (node.kind) {
    case ExprKind::kName:
    case ExprKind::kMember: node.stores = true; return true;
    case ExprKind::kTuple:
      return std::all_of(node.children.begin(), node.children.end(), [](ExprPtr& item) { return make_target(*item); });
    default: return false;
  }
}

}  // namespace

class ExpressionParser::Bracket {
 public:
  explicit Bracket(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.brackets_ > kMaxBrackets) {
      --parser_.brackets_;
      raise_at(parser_.stream_.current().line, "more than {} nested brackets, conditions or signs", kMaxBrackets);
    }
  }
  Bracket(const Bracket&) = delete;
  Bracket& operator=(const Bracket&) = delete;
  ~Bracket() { --parser_.brackets_; }

 private:
  ExpressionParser& parser_;
};

ExprPtr ExpressionParser::expression(bool with_condition) {
  const Bracket guard(*this);
  return with_condition ? condition() : logical_or();
}

ExprPtr ExpressionParser::condition() {
  int line = stream_.current().line;
  ExprPtr value = logical_or();
  while (stream_.skip_name("if")) {
    ExprPtr test = logical_or();
    ExprPtr otherwise;
    if (stream_.skip_name("else")) {
      const Bracket guard(*this);
      otherwise = condition();
    }
    value = make(ExprKind::kCondition, line, std::move(test), std::move(value), std::move(otherwise));
    line = stream_.current().line;
  }
  return value;
}

ExprPtr ExpressionParser::logical_or() {
  int line = stream_.current().line;
  ExprPtr left = logical_and();
  while (stream_.skip_name("or")) {
    left = operation(ExprKind::kBinary, Op::kOr, line, std::move(left), logical_and());
    line = stream_.current().line;
  }
  return left;
}

ExprPtr ExpressionParser::logical_and() {
  int line = stream_.current().line;
  ExprPtr left = logical_not();
  while (stream_.skip_name("and")) {
    left = operation(ExprKind::kBinary, Op::kAnd, line, std::move(left), logical_not());
    line = stream_.current().line;
  }
  return left;
}

ExprPtr ExpressionParser::logical_not() {
  if (!stream_.sees_name("not")) return comparison();
  const Bracket guard(*this);
  const int line = stream_.next().line;
  return operation(ExprKind::kUnary, Op::kNot, line, logical_not());
}

ExprPtr ExpressionParser::comparison() {
  const int line = stream_.current().line;
  ExprPtr first = sum();
  ExprPtr chain;
  while (true) {
    std::optional<Op> op = comparison_operator(stream_.current());
    if (op) {
      stream_.next();
    } else if (stream_.skip_name("in")) {
      op = Op::kIn;
    } else if (stream_.sees_name("not") && stream_.ahead().is_name("in")) {
      stream_.next();
      stream_.next();
      op = Op::kNotIn;
    } else {
      break;
    }
    if (chain == nullptr) chain = make(ExprKind::kCompare, line, std::move(first));
    chain->ops.push_back(*op);
    adopt(*chain, sum());
  }
  return chain != nullptr ? std::move(chain) : std::move(first);
}

ExprPtr ExpressionParser::sum() {
  int line = stream_.current().line;
  ExprPtr left = concatenation();
  while (stream_.sees_operator("+") || stream_.sees_operator("-")) {
    const Op op = stream_.next().text == "+" ? Op::kAdd : Op::kSubtract;
    left = operation(ExprKind::kBinary, op, line, std::move(left), concatenation());
    line = stream_.current().line;
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  const int line = stream_.current().line;
  ExprPtr first = product();
  if (!stream_.sees_operator("~")) return first;
  ExprPtr node = make(ExprKind::kConcat, line, std::move(first));
  while (stream_.skip_operator("~")) adopt(*node, product());
  return node;
}

ExprPtr ExpressionParser::product() {
  int line = stream_.current().line;
  ExprPtr left = power();
  while (true) {
    Op op;
    if (stream_.sees_operator("*")) {
      op = Op::kMultiply;
    } else if (stream_.sees_operator("/")) {
      op = Op::kDivide;
    } else if (stream_.sees_operator("//")) {
      op = Op::kFloorDivide;
    } else if (stream_.sees_operator("%")) {
      op = Op::kModulo;
    } else {
      return left;
    }
    stream_.next();
    left = operation(ExprKind::kBinary, op, line, std::move(left), power());
    line = stream_.current().line;
  }
}

ExprPtr ExpressionParser::power() {
  int line = stream_.current().line;
  ExprPtr left = unary(/*with_filters=*/true);
  while (stream_.skip_operator("**")) {
    left = operation(ExprKind::kBinary, Op::kPower, line, std::move(left), unary(/*with_filters=*/true));
    line = stream_.current().line;
  }
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  const int line = stream_.current().line;
  ExprPtr node;
  if (stream_.sees_operator("-") || stream_.sees_operator("+")) {
    const Bracket guard(*this);
    const Op op = stream_.next().text == "-" ? Op::kNegative : Op::kPositive;
    node = operation(ExprKind::kUnary, op, line, unary(/*with_filters=*/false));
  } else {
    node = primary(/*with_namespace=*/false);
  }
  node = postfix(std::move(node));
  return with_filters ? filters_and_tests(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::primary(bool with_namespace) {
  const Token token = stream_.current();
  switch (token.kind) {
    case TokenKind::kName: {
      stream_.next();
      if (token.text == "true" || token.text == "True") return constant(Value::boolean(true), token.line);
      if (token.text == "false" || token.text == "False") return constant(Value::boolean(false), token.line);
      if (token.text == "none" || token.text == "None") return constant(Value::none(), token.line);
      const bool member = with_namespace && stream_.sees_operator(".");
      ExprPtr node = make(member ? ExprKind::kMember : ExprKind::kName, token.line);
      node->text = token.text;
      if (member) {
        stream_.next();
        node->attribute = stream_.expect(TokenKind::kName, "name").text;
      }
      return node;
    }
    case TokenKind::kString: {
      std::string text;
      while (stream_.sees(TokenKind::kString)) text += stream_.next().text;
      return constant(Value::string(std::move(text)), token.line);
    }
    case TokenKind::kInteger: stream_.next(); return constant(Value::integer(token.integer), token.line);
    case TokenKind::kFloat: stream_.next(); return constant(Value::real(token.real), token.line);
    default: break;
  }
  if (stream_.skip_operator("(")) {
    ExprPtr node = tuple(/*with_condition=*/true, "", /*parenthesized=*/true);
    stream_.expect_operator(")");
    return node;
  }
  if (stream_.sees_operator("[")) return list();
  if (stream_.sees_operator("{")) return dict();
  raise_at(token.line, "unexpected '{}'", describe(token));
}

ExprPtr ExpressionParser::tuple(bool with_condition, std::string_view end_name, bool parenthesized) {
  const Bracket guard(*this);
  int line = stream_.current().line;
  ExprPtr node = make(ExprKind::kTuple, line);
  bool is_tuple = false;
  while (true) {
    if (!node->children.empty()) stream_.expect_operator(",");
    const bool end = stream_.sees(TokenKind::kVariableEnd) || stream_.sees(TokenKind::kBlockEnd) ||
                     stream_.sees_operator(")") || (!end_name.empty() && stream_.sees_name(end_name));
    if (end) break;
    adopt(*node, expression(with_condition));
    if (!stream_.sees_operator(",")) break;
    is_tuple = true;
    line = stream_.current().line;
  }
  if (!is_tuple) {
    if (!node->children.empty()) return std::move(node->children.front());
    if (!parenthesized) {
      raise_at(stream_.current().line, "Expected an expression, got '{}'", describe(stream_.current()));
    }
  }
  node->line = line;
  return node;
}

ExprPtr ExpressionParser::target(bool with_namespace, std::string_view end_name) {
  const Bracket guard(*this);
  ExprPtr node = make(ExprKind::kTuple, stream_.current().line);
  bool is_tuple = false;
  while (true) {
    if (!node->children.empty()) stream_.expect_operator(",");
    const bool end = stream_.sees(TokenKind::kVariableEnd) || stream_.sees(TokenKind::kBlockEnd) ||
                     stream_.sees_operator(")") || (!end_name.empty() && stream_.sees_name(end_name));
    if (end) break;
    adopt(*node, primary(with_namespace));
    if (!stream_.sees_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (node->children.empty()) {
      raise_at(stream_.current().line, "Expected an expression, got '{}'", describe(stream_.current()));
    }
    node = std::move(node->children.front());
  }
  if (!make_target(*node)) raise_at(node->line, "can't assign to '{}'", node_name(node->kind));
  return node;
}

ExprPtr ExpressionParser::name_target() {
  const Token& token = stream_.expect(TokenKind::kName, "name");
  ExprPtr node = make(ExprKind::kName, token.line);
  node->text = token.text;
  node->stores = true;
  for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
    if (token.text == reserved) raise_at(token.line, "can't assign to 'name'");
  }
  return node;
}

ExprPtr ExpressionParser::list() {
  const Bracket guard(*this);
  ExprPtr node = make(ExprKind::kList, stream_.expect_operator("[").line);
  while (!stream_.sees_operator("]")) {
    if (!node->children.empty()) stream_.expect_operator(",");
    if (stream_.sees_operator("]")) break;
    adopt(*node, expression());
  }
  stream_.expect_operator("]");
  return node;
}

ExprPtr ExpressionParser::dict() {
  const Bracket guard(*this);
  ExprPtr node = make(ExprKind::kDict, stream_.expect_operator("{").line);
  while (!stream_.sees_operator("}")) {
    if (!node->children.empty()) stream_.expect_operator(",");
    if (stream_.sees_operator("}")) break;
    adopt(*node, expression());
    stream_.expect_operator(":");
    adopt(*node, expression());
  }
  stream_.expect_operator("}");
  return node;
}

ExprPtr ExpressionParser::postfix(ExprPtr node) {
  while (true) {
    if (stream_.sees_operator(".") || stream_.sees_operator("[")) {
      node = subscript(std::move(node));
    } else if (stream_.sees_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr node) {
  while (true) {
    if (stream_.sees_operator("|")) {
      node = filters(std::move(node), /*inline_start=*/false);
    } else if (stream_.sees_name("is")) {
      node = test(std::move(node));
    } else if (stream_.sees_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::subscript(ExprPtr node) {
  const Token opening = stream_.next();
  if (opening.text == "[") return bracketed(std::move(node), opening.line);
  const Token member = stream_.next();
  if (member.kind == TokenKind::kName) {
    ExprPtr attribute = make(ExprKind::kAttribute, opening.line, std::move(node));
    attribute->text = member.text;
    attribute->constant = Value::string(member.text);
    return attribute;
  }
  if (member.kind != TokenKind::kInteger) raise_at(member.line, "expected name or number");
  return make(ExprKind::kItem, opening.line, std::move(node), constant(Value::integer(member.integer), member.line));
}

// Behind "[": an index, a slice, or several (then the index is a tuple, in which slices have no use).
ExprPtr ExpressionParser::bracketed(ExprPtr node, int line) {
  const Bracket guard(*this);
  std::vector<ExprPtr> indices;
  ExprPtr slice;
  bool several = false;
  const auto part_ends = [&] { return stream_.sees_operator("]") || stream_.sees_operator(","); };
  while (!stream_.sees_operator("]")) {
    if (!indices.empty() || slice != nullptr) {
      stream_.expect_operator(",");
      several = true;
    }
    ExprPtr start;
    if (!stream_.sees_operator(":")) start = expression();
    if (!stream_.sees_operator(":")) {
      indices.push_back(std::move(start));
      continue;
    }
    stream_.next();
    ExprPtr stop, step;
    if (!stream_.sees_operator(":") && !part_ends()) stop = expression();
    if (stream_.skip_operator(":") && !part_ends()) step = expression();
    slice = make(ExprKind::kSlice, line, ExprPtr(), std::move(start), std::move(stop), std::move(step));
  }
  stream_.expect_operator("]");
  if (slice != nullptr) {
    if (several) raise_at(line, "a slice among several indices");
    grow(*slice, node.get());
    slice->children.front() = std::move(node);
    return slice;
  }
  if (indices.size() == 1) return make(ExprKind::kItem, line, std::move(node), std::move(indices.front()));
  ExprPtr index = make(ExprKind::kTuple, line);
  for (ExprPtr& item : indices) adopt(*index, std::move(item));
  return make(ExprKind::kItem, line, std::move(node), std::move(index));
}

std::unique_ptr<CallArguments> ExpressionParser::call_arguments() {
  const Bracket guard(*this);
  const int line = stream_.expect_operator("(").line;
  auto call = std::make_unique<CallArguments>();
  const auto demand = [&](bool holds) {
    if (!holds) raise_at(line, "invalid syntax for function call expression");
  };
  bool first = true;
  while (!stream_.sees_operator(")")) {
    if (!first) {
      stream_.expect_operator(",");
      if (stream_.sees_operator(")")) break;  // a trailing comma
    }
    first = false;
    if (stream_.sees_operator("*")) {
      demand(call->spread == nullptr && call->spread_named == nullptr);
      stream_.next();
      call->spread = expression();
    } else if (stream_.sees_operator("**")) {
      demand(call->spread_named == nullptr);
      stream_.next();
      call->spread_named = expression();
    } else if (stream_.sees(TokenKind::kName) && stream_.ahead().is_operator("=")) {
      demand(call->spread_named == nullptr);
      const Token name = stream_.next();
      stream_.next();
      for (const auto& [given, value] : call->named) {
        if (given == name.text) raise_at(name.line, "keyword argument repeated: {}", name.text);
      }
      call->named.emplace_back(name.text, expression());
    } else {
      demand(call->spread == nullptr && call->spread_named == nullptr && call->named.empty());
      call->positional.push_back(expression());
    }
  }
  stream_.expect_operator(")");
  return call;
}

ExprPtr ExpressionParser::call(ExprPtr node) {
  ExprPtr result = make(ExprKind::kCall, stream_.current().line, std::move(node));
  adopt_arguments(*result, call_arguments());
  return result;
}

std::string ExpressionParser::dotted_name() {
  std::string name = stream_.expect(TokenKind::kName, "name").text;
  while (stream_.skip_operator(".")) name += "." + stream_.expect(TokenKind::kName, "name").text;
  return name;
}

ExprPtr ExpressionParser::filters(ExprPtr input, bool inline_start) {
  while (inline_start || stream_.sees_operator("|")) {
    if (!inline_start) stream_.next();
    inline_start = false;
    const int line = stream_.current().line;
    ExprPtr node = make(ExprKind::kFilter, line);
    node->text = dotted_name();
    adopt(*node, input != nullptr ? std::move(input) : make(ExprKind::kCaptured, line));
    adopt_arguments(*node, stream_.sees_operator("(") ? call_arguments() : std::make_unique<CallArguments>());
    input = std::move(node);
  }
  return input;
}

ExprPtr ExpressionParser::test(ExprPtr input) {
  const int line = stream_.next().line;  // is
  const bool negated = stream_.skip_name("not");
  ExprPtr node = make(ExprKind::kTest, line);
  node->text = dotted_name();
  adopt(*node, std::move(input));
  auto call = std::make_unique<CallArguments>();
  const Token& token = stream_.current();
  const bool argument = token.kind == TokenKind::kName || token.kind == TokenKind::kString ||
                        token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat ||
                        token.is_operator("[") || token.is_operator("{");
  if (token.is_operator("(")) {
    call = call_arguments();
  } else if (argument && !token.is_name("else") && !token.is_name("or") && !token.is_name("and")) {
    if (token.is_name("is")) raise_at(token.line, "You cannot chain multiple tests with is");
    call->positional.push_back(postfix(primary(/*with_namespace=*/false)));
  }
  adopt_arguments(*node, std::move(call));
  if (!negated) return node;
  return operation(ExprKind::kUnary, Op::kNot, line, std::move(node));
}

}  // namespace octavo::text::jinja
