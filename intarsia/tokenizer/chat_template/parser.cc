#include "intarsia/tokenizer/chat_template/parser.h"

#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/utf8.h"

namespace intarsia::chat_template {
namespace {
constexpr int kMaxNesting = 100;
}  // namespace

void Parser::Error(const std::string& message) const {
  // A token that it quotes may be long.
  constexpr size_t kShown = 300;
  std::string_view shown = message;
  shown = shown.substr(0, kShown);
  while (!shown.empty() && !IsValidUtf8(shown)) shown.remove_suffix(1);
  Fail("line " + std::to_string(Now().line) + ": " + std::string(shown) +
       (message.size() > kShown ? "..." : ""));
}

Parser::Nested::Nested(Parser* parser) : parser_(parser) {
  if (parser->nesting_ >= kMaxNesting) {
    parser->Error("the template nests too deeply");
  }
  ++parser->nesting_;
}

const Token& Parser::Ahead() const {
  return tokens_[std::min(at_ + 1, tokens_.size() - 1)];
}

Token Parser::Take() {
  Token token = Now();
  if (token.type != Token::kEnd) ++at_;
  return token;
}

bool Parser::IsOperator(std::string_view text) const {
  return Now().type == Token::kOperator && Now().text == text;
}

bool Parser::IsName(std::string_view text) const {
  return Now().type == Token::kName && Now().text == text;
}

bool Parser::TakeOperator(std::string_view text) {
  if (!IsOperator(text)) return false;
  ++at_;
  return true;
}

bool Parser::TakeName(std::string_view text) {
  if (!IsName(text)) return false;
  ++at_;
  return true;
}

void Parser::ExpectOperator(std::string_view text) {
  if (!TakeOperator(text)) {
    Error("expected '" + std::string(text) + "', got '" + Now().text + "'");
  }
}

std::string Parser::ExpectName() {
  if (Now().type != Token::kName) {
    Error("expected a name, got '" + Now().text + "'");
  }
  return Take().text;
}

void Parser::Expect(Token::Type type, const char* what) {
  if (Now().type != type) {
    Error(std::string("expected ") + what + ", got '" + Now().text + "'");
  }
  ++at_;
}

std::unique_ptr<Stmt> Parser::NewStmt(Stmt::Kind kind) const {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = Now().line;
  return stmt;
}

Block Parser::ParseTemplate() { return ParseBlock({}, nullptr); }

// Statements up to a tag of `ends`, whose name is taken. Without ends: up to
// the end of the template.
Block Parser::ParseBlock(const std::vector<std::string_view>& ends,
                         std::string* end_found) {
  const Nested nested(this);
  Block block;
  while (Now().type != Token::kEnd) {
    switch (Now().type) {
      case Token::kText:
        block.push_back(NewStmt(Stmt::kText));
        block.back()->text = Take().text;
        break;
      case Token::kVariableBegin:
        ++at_;
        block.push_back(NewStmt(Stmt::kOutput));
        block.back()->exprs.push_back(ParseTuple(true));
        Expect(Token::kVariableEnd, "the end of the print statement");
        break;
      default:
        Expect(Token::kBlockBegin, "a tag");
        if (Now().type != Token::kName) Error("tag name expected");
        if (std::find(ends.begin(), ends.end(), Now().text) != ends.end()) {
          *end_found = Take().text;
          return block;
        }
        block.push_back(ParseStatement());
        Expect(Token::kBlockEnd, "the end of the statement");
    }
  }
  if (!ends.empty()) {
    Error("Unexpected end of template; looking for '" +
          std::string(ends.back()) + "'");
  }
  return block;
}

// The same after the head of a statement.
Block Parser::ParseBody(const std::vector<std::string_view>& ends,
                        std::string* end_found) {
  TakeOperator(":");
  Expect(Token::kBlockEnd, "the end of the statement");
  std::string found;
  return ParseBlock(ends, end_found ? end_found : &found);
}

std::unique_ptr<Stmt> Parser::ParseStatement() {
  const std::string tag = Now().text;
  if (tag == "if") return ParseIf();
  if (tag == "for") return ParseFor();
  if (tag == "set") return ParseSet();
  if (tag == "macro") return ParseMacro();
  if (tag == "call") return ParseCallBlock();
  if (tag == "with") return ParseWith();
  ++at_;
  if (tag == "break") return NewStmt(Stmt::kBreak);
  if (tag == "continue") return NewStmt(Stmt::kContinue);
  if (tag == "print") {
    auto stmt = NewStmt(Stmt::kOutput);
    while (Now().type != Token::kBlockEnd) {
      if (!stmt->exprs.empty()) ExpectOperator(",");
      stmt->exprs.push_back(ParseExpression());
    }
    return stmt;
  }
  if (tag == "filter") {
    auto stmt = NewStmt(Stmt::kFilterBlock);
    stmt->exprs.push_back(ParseFilterChain(nullptr, true));
    stmt->blocks.push_back(ParseBody({"endfilter"}));
    return stmt;
  }
  if (tag == "generation") {
    auto stmt = NewStmt(Stmt::kScope);
    stmt->blocks.push_back(ParseBody({"endgeneration"}));
    return stmt;
  }
  for (const char* known :
       {"autoescape", "block", "extends", "from", "import", "include"}) {
    if (tag == known) Error("the tag '" + tag + "' is not supported");
  }
  Error("unknown tag '" + tag + "'");
}

std::unique_ptr<Stmt> Parser::ParseIf() {
  auto stmt = NewStmt(Stmt::kIf);
  std::string end = "elif";
  while (end == "elif") {
    if (stmt->exprs.empty()) ++at_;  // "if" itself; "elif" is taken
    stmt->exprs.push_back(ParseTuple(false));
    stmt->blocks.push_back(ParseBody({"elif", "else", "endif"}, &end));
  }
  if (end == "else") stmt->blocks.push_back(ParseBody({"endif"}));
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseFor() {
  auto stmt = NewStmt(Stmt::kFor);
  ++at_;
  stmt->targets.push_back(ParseTargets(false));
  if (!TakeName("in")) Error("expected 'in'");
  stmt->exprs.push_back(ParseTuple(false));
  stmt->exprs.push_back(TakeName("if") ? ParseExpression() : nullptr);
  stmt->recursive = TakeName("recursive");
  std::string end;
  stmt->blocks.push_back(ParseBody({"endfor", "else"}, &end));
  stmt->blocks.emplace_back();
  if (end == "else") stmt->blocks.back() = ParseBody({"endfor"});
  return stmt;
}

// What to assign to: one target, or several with commas.
Target Parser::ParseTargets(bool fields) {
  const Nested nested(this);
  Target first = ParseTarget(fields);
  if (!IsOperator(",")) return first;
  Target tuple;
  tuple.is_tuple = true;
  tuple.parts.push_back(std::move(first));
  while (TakeOperator(",")) {
    if (IsOperator(")")) break;  // a comma may end the list in parentheses
    tuple.parts.push_back(ParseTarget(fields));
  }
  return tuple;
}

Target Parser::ParseTarget(bool fields) {
  if (TakeOperator("(")) {
    Target inner = ParseTargets(fields);
    ExpectOperator(")");
    return inner;
  }
  Target target;
  target.name = ExpectName();
  for (const char* word :
       {"true", "false", "none", "True", "False", "None", "loop"}) {
    if (target.name == word) Error("can't assign to '" + target.name + "'");
  }
  if (fields && TakeOperator(".")) target.field = ExpectName();
  return target;
}

std::unique_ptr<Stmt> Parser::ParseSet() {
  auto stmt = NewStmt(Stmt::kSet);
  ++at_;
  stmt->targets.push_back(ParseTargets(true));
  if (TakeOperator("=")) {
    stmt->exprs.push_back(ParseTuple(true));
    return stmt;
  }
  stmt->kind = Stmt::kSetBlock;
  stmt->exprs.push_back(IsOperator("|") ? ParseFilterChain(nullptr, false)
                                        : nullptr);
  stmt->blocks.push_back(ParseBody({"endset"}));
  return stmt;
}

void Parser::ParseParameters(Stmt* stmt) {
  ExpectOperator("(");
  while (!IsOperator(")")) {
    if (!stmt->parameters.empty()) ExpectOperator(",");
    Parameter parameter;
    parameter.name = ExpectName();
    if (TakeOperator("=")) {
      parameter.fallback = ParseExpression();
    } else if (!stmt->parameters.empty() && stmt->parameters.back().fallback) {
      Error("non-default argument follows default argument");
    }
    stmt->parameters.push_back(std::move(parameter));
  }
  ExpectOperator(")");
}

// The body of a macro or call block, noting which special names it uses.
void Parser::ParseCallable(Stmt* stmt, std::string_view end) {
  const bool varargs = std::exchange(uses_varargs_, false);
  const bool kwargs = std::exchange(uses_kwargs_, false);
  const bool caller = std::exchange(uses_caller_, false);
  stmt->blocks.push_back(ParseBody({end}));
  stmt->uses_varargs = uses_varargs_;
  stmt->uses_kwargs = uses_kwargs_;
  stmt->uses_caller = uses_caller_;
  uses_varargs_ |= varargs;
  uses_kwargs_ |= kwargs;
  uses_caller_ |= caller;
}

std::unique_ptr<Stmt> Parser::ParseMacro() {
  auto stmt = NewStmt(Stmt::kMacro);
  ++at_;
  stmt->text = ExpectName();
  ParseParameters(stmt.get());
  ParseCallable(stmt.get(), "endmacro");
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseCallBlock() {
  auto stmt = NewStmt(Stmt::kCall);
  ++at_;
  if (IsOperator("(")) ParseParameters(stmt.get());
  stmt->exprs.push_back(ParseExpression());
  if (stmt->exprs[0]->kind != Expr::kCall) Error("expected call");
  ParseCallable(stmt.get(), "endcall");
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseWith() {
  auto stmt = NewStmt(Stmt::kWith);
  ++at_;
  while (Now().type != Token::kBlockEnd) {
    if (!stmt->exprs.empty()) ExpectOperator(",");
    stmt->targets.push_back(ParseTarget(false));
    ExpectOperator("=");
    stmt->exprs.push_back(ParseExpression());
  }
  stmt->blocks.push_back(ParseBody({"endwith"}));
  return stmt;
}

}  // namespace intarsia::chat_template
