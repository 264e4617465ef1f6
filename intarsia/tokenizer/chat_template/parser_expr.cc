#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "intarsia/tokenizer/chat_template/parser.h"

namespace intarsia::chat_template {
namespace {
constexpr int kMaxTreeDepth = 300;
}  // namespace

ExprPtr Parser::NewExpr(Expr::Kind kind) const {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = Now().line;
  return node;
}

ExprPtr Parser::Measured(ExprPtr node) const {
  const auto include = [&](const ExprPtr& child) {
    if (child) node->depth = std::max(node->depth, child->depth + 1);
  };
  for (const ExprPtr& child : node->children) include(child);
  for (const auto& [name, child] : node->named) include(child);
  include(node->star);
  include(node->double_star);
  if (node->depth > kMaxTreeDepth) Error("an expression is too long");
  return node;
}

ExprPtr Parser::Binary(Expr::Kind kind, std::string op, ExprPtr left,
                       ExprPtr right) {
  ExprPtr node = NewExpr(kind);
  node->operators.push_back(std::move(op));
  node->children.push_back(std::move(left));
  node->children.push_back(std::move(right));
  return Measured(std::move(node));
}

ExprPtr Parser::ParseTuple(bool with_condition, bool parenthesised) {
  ExprPtr tuple = NewExpr(Expr::kTuple);
  bool is_tuple = false;
  while (true) {
    if (Now().type == Token::kVariableEnd || Now().type == Token::kBlockEnd ||
        IsOperator(")")) {
      break;
    }
    tuple->children.push_back(with_condition ? ParseExpression() : ParseOr());
    if (!TakeOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!tuple->children.empty()) return std::move(tuple->children[0]);
    if (!parenthesised) {
      Error("Expected an expression, got '" + Now().text + "'");
    }
  }
  return Measured(std::move(tuple));
}

ExprPtr Parser::ParseCondition() {
  const Nested nested(this);
  ExprPtr then = ParseOr();
  while (TakeName("if")) {
    ExprPtr node = NewExpr(Expr::kCondition);
    node->children.push_back(ParseOr());
    node->children.push_back(std::move(then));
    node->children.push_back(TakeName("else") ? ParseCondition() : nullptr);
    then = Measured(std::move(node));
  }
  return then;
}

ExprPtr Parser::ParseOr() {
  const Nested nested(this);
  ExprPtr left = ParseAnd();
  while (TakeName("or")) {
    left = Binary(Expr::kOr, "or", std::move(left), ParseAnd());
  }
  return left;
}

ExprPtr Parser::ParseAnd() {
  ExprPtr left = ParseNot();
  while (TakeName("and")) {
    left = Binary(Expr::kAnd, "and", std::move(left), ParseNot());
  }
  return left;
}

ExprPtr Parser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  const Nested nested(this);
  ExprPtr node = NewExpr(Expr::kNot);
  ++at_;
  node->children.push_back(ParseNot());
  return Measured(std::move(node));
}

ExprPtr Parser::ParseCompare() {
  ExprPtr node = NewExpr(Expr::kCompare);
  node->children.push_back(ParseSum());
  while (true) {
    std::string op;
    for (const char* text : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (op.empty() && TakeOperator(text)) op = text;
    }
    if (op.empty() && TakeName("in")) op = "in";
    if (op.empty() && IsName("not") && Ahead().type == Token::kName &&
        Ahead().text == "in") {
      at_ += 2;
      op = "not in";
    }
    if (op.empty()) break;
    node->operators.push_back(std::move(op));
    node->children.push_back(ParseSum());
  }
  if (node->operators.empty()) return std::move(node->children[0]);
  return Measured(std::move(node));
}

ExprPtr Parser::ParseSum() {
  ExprPtr left = ParseConcat();
  while (IsOperator("+") || IsOperator("-")) {
    std::string op = Take().text;
    left = Binary(Expr::kArithmetic, std::move(op), std::move(left),
                  ParseConcat());
  }
  return left;
}

ExprPtr Parser::ParseConcat() {
  ExprPtr node = NewExpr(Expr::kConcat);
  node->children.push_back(ParseProduct());
  while (TakeOperator("~")) node->children.push_back(ParseProduct());
  if (node->children.size() == 1) return std::move(node->children[0]);
  return Measured(std::move(node));
}

ExprPtr Parser::ParseProduct() {
  ExprPtr left = ParsePower();
  while (IsOperator("*") || IsOperator("/") || IsOperator("//") ||
         IsOperator("%")) {
    std::string op = Take().text;
    left =
        Binary(Expr::kArithmetic, std::move(op), std::move(left), ParsePower());
  }
  return left;
}

ExprPtr Parser::ParsePower() {
  ExprPtr left = ParseUnary(true);
  while (TakeOperator("**")) {
    left = Binary(Expr::kArithmetic, "**", std::move(left), ParseUnary(true));
  }
  return left;
}

ExprPtr Parser::ParseUnary(bool with_filters) {
  const Nested nested(this);
  ExprPtr node;
  if (IsOperator("-") || IsOperator("+")) {
    node = NewExpr(IsOperator("-") ? Expr::kNegative : Expr::kPositive);
    ++at_;
    node->children.push_back(ParseUnary(false));
    node = Measured(std::move(node));
  } else {
    node = ParsePrimary();
  }
  node = ParsePostfix(std::move(node));
  return with_filters ? ParseFilters(std::move(node)) : std::move(node);
}

ExprPtr Parser::ParseNumber() {
  ExprPtr node = NewExpr(Expr::kConst);
  const Token token = Take();
  if (token.type == Token::kFloat) {
    node->value = std::strtod(token.text.c_str(), nullptr);
    return node;
  }
  int64_t value = 0;
  const char* end = token.text.data() + token.text.size();
  if (std::from_chars(token.text.data(), end, value).ec != std::errc()) {
    Error("an integer is too large");
  }
  node->value = value;
  return node;
}

ExprPtr Parser::ParsePrimary() {
  if (Now().type == Token::kInteger || Now().type == Token::kFloat) {
    return ParseNumber();
  }
  ExprPtr node = NewExpr(Expr::kConst);
  if (Now().type == Token::kName) {
    const std::string name = Take().text;
    if (name == "true" || name == "True") {
      node->value = true;
    } else if (name == "false" || name == "False") {
      node->value = false;
    } else if (name == "none" || name == "None") {
      node->value = None{};
    } else {
      node->kind = Expr::kName;
      node->text = name;
      uses_varargs_ |= name == "varargs";
      uses_kwargs_ |= name == "kwargs";
      uses_caller_ |= name == "caller";
    }
    return node;
  }
  if (Now().type == Token::kString) {
    std::string text;
    while (Now().type == Token::kString) text += Take().text;
    node->value = Value(std::move(text));
    return node;
  }
  if (TakeOperator("(")) {
    node = ParseTuple(true, true);
    ExpectOperator(")");
    return node;
  }
  const bool is_list = IsOperator("[");
  if (!is_list && !IsOperator("{")) Error("unexpected '" + Now().text + "'");
  ++at_;
  node->kind = is_list ? Expr::kList : Expr::kDict;
  const char* end = is_list ? "]" : "}";
  while (!IsOperator(end)) {
    if (!node->children.empty()) {
      ExpectOperator(",");
      if (IsOperator(end)) break;
    }
    node->children.push_back(ParseExpression());
    if (is_list) continue;
    ExpectOperator(":");
    node->children.push_back(ParseExpression());
  }
  ExpectOperator(end);
  return Measured(std::move(node));
}

ExprPtr Parser::ParsePostfix(ExprPtr node) {
  while (true) {
    if (IsOperator(".") || IsOperator("[")) {
      node = ParseSubscript(std::move(node));
    } else if (IsOperator("(")) {
      ExprPtr call = NewExpr(Expr::kCall);
      call->children.push_back(std::move(node));
      ParseArguments(call.get());
      node = Measured(std::move(call));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::ParseFilters(ExprPtr node) {
  while (true) {
    if (IsOperator("|")) {
      node = ParseFilterChain(std::move(node), false);
    } else if (IsName("is")) {
      node = ParseTest(std::move(node));
    } else if (IsOperator("(")) {
      node = ParsePostfix(std::move(node));
    } else {
      return node;
    }
  }
}

// "|name(arguments)|name …"; at_name: the first bar is left out.
ExprPtr Parser::ParseFilterChain(ExprPtr node, bool at_name) {
  while (at_name || TakeOperator("|")) {
    at_name = false;
    ExprPtr filter = NewExpr(Expr::kFilter);
    filter->text = ExpectName();
    while (TakeOperator(".")) filter->text += "." + ExpectName();
    filter->children.push_back(std::move(node));
    if (IsOperator("(")) ParseArguments(filter.get());
    node = Measured(std::move(filter));
  }
  return node;
}

ExprPtr Parser::ParseTest(ExprPtr node) {
  ++at_;  // is
  const bool negated = TakeName("not");
  ExprPtr test = NewExpr(Expr::kTest);
  test->text = ExpectName();
  while (TakeOperator(".")) test->text += "." + ExpectName();
  test->children.push_back(std::move(node));
  const Token& next = Now();
  const bool value = next.type == Token::kName || next.type == Token::kString ||
                     next.type == Token::kInteger ||
                     next.type == Token::kFloat || IsOperator("[") ||
                     IsOperator("{");
  if (IsOperator("(")) {
    ParseArguments(test.get());
  } else if (value && !IsName("else") && !IsName("or") && !IsName("and")) {
    if (IsName("is")) Error("You cannot chain multiple tests with is");
    test->children.push_back(ParsePostfix(ParsePrimary()));
  }
  test = Measured(std::move(test));
  if (!negated) return test;
  ExprPtr negation = NewExpr(Expr::kNot);
  negation->children.push_back(std::move(test));
  return Measured(std::move(negation));
}

ExprPtr Parser::ParseSubscript(ExprPtr node) {
  if (TakeOperator(".")) {
    ExprPtr result;
    if (Now().type == Token::kName) {
      result = NewExpr(Expr::kAttribute);
      result->text = Take().text;
      result->children.push_back(std::move(node));
    } else if (Now().type == Token::kInteger) {
      result = NewExpr(Expr::kItem);
      result->children.push_back(std::move(node));
      result->children.push_back(ParseNumber());
    } else {
      Error("expected name or number");
    }
    return Measured(std::move(result));
  }
  ExprPtr result = NewExpr(Expr::kItem);
  ++at_;
  ExprPtr index = NewExpr(Expr::kTuple);
  while (!IsOperator("]")) {
    if (!index->children.empty()) ExpectOperator(",");
    index->children.push_back(ParseSubscribed());
  }
  ExpectOperator("]");
  result->children.push_back(std::move(node));
  const bool single = index->children.size() == 1;
  result->children.push_back(single ? std::move(index->children[0])
                                    : Measured(std::move(index)));
  return Measured(std::move(result));
}

ExprPtr Parser::ParseSubscribed() {
  ExprPtr slice = NewExpr(Expr::kSlice);
  const auto part = [&]() -> ExprPtr {
    if (IsOperator(":") || IsOperator("]") || IsOperator(",")) return nullptr;
    return ParseExpression();
  };
  ExprPtr start = part();
  if (start && !IsOperator(":")) return start;
  slice->children.push_back(std::move(start));
  ExpectOperator(":");
  slice->children.push_back(part());
  slice->children.push_back(TakeOperator(":") ? part() : nullptr);
  return Measured(std::move(slice));
}

void Parser::ParseArguments(Expr* call) {
  ExpectOperator("(");
  const size_t fixed = call->children.size();
  bool first = true;
  while (!IsOperator(")")) {
    if (!first) {
      ExpectOperator(",");
      if (IsOperator(")")) break;
    }
    first = false;
    const bool positional_over =
        !call->named.empty() || call->star || call->double_star;
    if (TakeOperator("*")) {
      if (call->star || call->double_star) Error("invalid call arguments");
      call->star = ParseExpression();
    } else if (TakeOperator("**")) {
      if (call->double_star) Error("invalid call arguments");
      call->double_star = ParseExpression();
    } else if (Now().type == Token::kName && Ahead().type == Token::kOperator &&
               Ahead().text == "=") {
      if (call->double_star) Error("invalid call arguments");
      std::string name = Take().text;
      ++at_;
      call->named.emplace_back(std::move(name), ParseExpression());
    } else {
      if (positional_over) Error("invalid call arguments");
      call->children.push_back(ParseExpression());
    }
    if (call->children.size() - fixed > 255 || call->named.size() > 255) {
      Error("too many arguments");
    }
  }
  ExpectOperator(")");
}

}  // namespace intarsia::chat_template
