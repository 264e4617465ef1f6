// Tokens to syntax tree: jinja2's grammar, without template inheritance,
// includes and imports (a chat template is one text).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "intarsia/tokenizer/chat_template/ast.h"
#include "intarsia/tokenizer/chat_template/lexer.h"

namespace intarsia::chat_template {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // Fails with a TemplateError that names the line.
  Block ParseTemplate();

 private:
  // parser.cc: statements.
  Block ParseBlock(const std::vector<std::string_view>& ends,
                   std::string* end_found);
  Block ParseBody(const std::vector<std::string_view>& ends,
                  std::string* end_found = nullptr);
  std::unique_ptr<Stmt> ParseStatement();
  std::unique_ptr<Stmt> ParseIf();
  std::unique_ptr<Stmt> ParseFor();
  std::unique_ptr<Stmt> ParseSet();
  std::unique_ptr<Stmt> ParseMacro();
  std::unique_ptr<Stmt> ParseCallBlock();
  std::unique_ptr<Stmt> ParseWith();
  void ParseParameters(Stmt* stmt);
  Target ParseTargets(bool fields);
  Target ParseTarget(bool fields);
  void ParseCallable(Stmt* stmt, std::string_view end);
  std::unique_ptr<Stmt> NewStmt(Stmt::Kind kind) const;

  // parser_expr.cc: expressions, from loosest to tightest.
  ExprPtr ParseTuple(bool with_condition, bool parenthesised = false);
  ExprPtr ParseExpression() { return ParseCondition(); }
  ExprPtr ParseCondition();
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filters);
  ExprPtr ParsePrimary();
  ExprPtr ParseNumber();
  ExprPtr ParsePostfix(ExprPtr node);
  ExprPtr ParseFilters(ExprPtr node);
  ExprPtr ParseFilterChain(ExprPtr node, bool at_name);
  ExprPtr ParseTest(ExprPtr node);
  ExprPtr ParseSubscript(ExprPtr node);
  ExprPtr ParseSubscribed();
  void ParseArguments(Expr* call);
  ExprPtr NewExpr(Expr::Kind kind) const;
  ExprPtr Binary(Expr::Kind kind, std::string op, ExprPtr left, ExprPtr right);
  // Sets the node's depth; fails if the tree is too deep.
  ExprPtr Measured(ExprPtr node) const;

  [[noreturn]] void Error(const std::string& message) const;
  const Token& Now() const { return tokens_[at_]; }
  const Token& Ahead() const;
  Token Take();
  bool IsOperator(std::string_view text) const;
  bool IsName(std::string_view text) const;
  bool TakeOperator(std::string_view text);
  bool TakeName(std::string_view text);
  void ExpectOperator(std::string_view text);
  std::string ExpectName();
  void Expect(Token::Type type, const char* what);

  // Counts one level of nesting while it lives.
  class Nested {
   public:
    explicit Nested(Parser* parser);
    ~Nested() { --parser_->nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser* parser_;
  };

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  // What the macros around use of the names they may be called with.
  bool uses_varargs_ = false, uses_kwargs_ = false, uses_caller_ = false;
};

}  // namespace intarsia::chat_template
