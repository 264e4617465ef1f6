// Runs a template's syntax tree. One Evaluator serves one rendering.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "intarsia/tokenizer/chat_template/ast.h"
#include "intarsia/tokenizer/chat_template/chat_template.h"

namespace intarsia::chat_template {

// Names that are visible together. A macro keeps the scopes around it.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::unordered_map<std::string, Value> names;
};

class Evaluator {
 public:
  // `options` must outlive the evaluator.
  explicit Evaluator(const ChatTemplateOptions& options);
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  // The text of the template over the variables. Fails with a TemplateError;
  // line() then says where.
  std::string Run(const Block& block, const Dict& variables);
  int line() const { return line_; }

  // What builtins use.
  const ChatTemplateOptions& options() const { return options_; }
  // Counts work; fails when there was too much. `bytes` are moved or made.
  void Step(size_t bytes = 0);
  // A string or list made by a builtin, within the limits.
  Value Text(std::string text);
  Value NewList(std::vector<Value> items, List::Kind kind = List::kList);
  Value NewRange(std::vector<Value> items, int64_t start, int64_t stop,
                 int64_t step);
  Value NewNamespace();
  // The items of anything that Python can iterate over; a generator is used up.
  std::vector<Value> Iterate(const Value& value);
  // object.name and object[key]; undefined if there is none.
  Value Attribute(const Value& object, const std::string& name);
  Value Item(const Value& object, const Value& key);
  Value Call(const Value& callee, Arguments& arguments);
  Value Arithmetic(const std::string& op, const Value& a, const Value& b);
  bool Contains(const Value& item, const Value& container);
  // "UndefinedError" for what may not be used.
  void RequireDefined(const Value& value);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  class Entered;

  // evaluator.cc: statements.
  Flow Execute(const Block& block);
  Flow ExecuteOne(const Stmt& stmt);
  Flow ExecuteIf(const Stmt& stmt);
  void ExecuteFor(const Stmt& stmt);
  void RunLoop(const Stmt& stmt, const Value& over, int level);
  std::vector<Value> LoopItems(const Stmt& stmt, const Value& over);
  void ExecuteSet(const Stmt& stmt);
  void ExecuteCallBlock(const Stmt& stmt);
  std::string Capture(const Block& block);
  Value MakeCallable(const Stmt& stmt, std::string name);
  Value RunCallable(const Stmt& stmt, const std::string& name,
                    const std::shared_ptr<Scope>& closure,
                    Arguments& arguments);
  void BindParameters(const Stmt& stmt, const std::string& name,
                      Arguments& arguments);
  void Assign(const Target& target, const Value& value);
  void Write(std::string_view text);
  void PushScope();
  void PopScope();

  // evaluator_expr.cc: expressions.
  Value Evaluate(const Expr& expr);
  Value EvaluateCompare(const Expr& expr);
  Value EvaluateConcat(const Expr& expr);
  Value EvaluateDict(const Expr& expr);
  Value EvaluateItem(const Expr& expr);
  Value EvaluateSlice(const Value& object, const Expr& slice);
  Value EvaluateFilter(const Expr& expr, const Value* input);
  Value Lookup(const std::string& name);
  Arguments EvaluateArguments(const Expr& call);

  const ChatTemplateOptions& options_;
  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
  int line_ = 1;
  int depth_ = 0;
  int64_t steps_ = 0;
  // Namespaces and captured scopes may refer to each other in circles, which
  // the destructor breaks.
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<std::shared_ptr<Scope>> captured_;
};

}  // namespace intarsia::chat_template
