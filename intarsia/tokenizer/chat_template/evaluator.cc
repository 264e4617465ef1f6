#include "intarsia/tokenizer/chat_template/evaluator.h"

#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"

namespace intarsia::chat_template {
namespace {
constexpr int kMaxDepth = 700;  // of evaluation: a few kB of stack each
}  // namespace

// Counts one level of recursion while it lives.
class Evaluator::Entered {
 public:
  explicit Entered(Evaluator* evaluator) : evaluator_(evaluator) {
    if (++evaluator->depth_ > kMaxDepth) {
      --evaluator->depth_;
      Fail("the template calls itself too deeply");
    }
  }
  ~Entered() { --evaluator_->depth_; }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

 private:
  Evaluator* evaluator_;
};

Evaluator::Evaluator(const ChatTemplateOptions& options) : options_(options) {}

Evaluator::~Evaluator() {
  for (const auto& scope : captured_) scope->names.clear();
  for (const auto& ns : namespaces_) ns->fields.clear();
}

std::string Evaluator::Run(const Block& block, const Dict& variables) {
  std::string out;
  out_ = &out;
  PushScope();
  AddGlobals(scope_.get());
  scope_->names["self"] = NewNamespace();  // the blocks that a template has
  PushScope();
  for (const auto& [key, value] : variables.items) {
    scope_->names[key.string()] = value;
  }
  Execute(block);
  return out;
}

void Evaluator::Step(size_t bytes) {
  steps_ += 1 + static_cast<int64_t>(bytes / 8);
  if (steps_ > options_.limits.steps) Fail("the template does too much work");
}

void Evaluator::Write(std::string_view text) {
  Step(text.size());
  if (text.size() > options_.limits.output_bytes ||
      out_->size() > options_.limits.output_bytes - text.size()) {
    Fail("the output is too long");
  }
  out_->append(text);
}

void Evaluator::PushScope() {
  auto scope = std::make_shared<Scope>();
  scope->parent = std::move(scope_);
  scope_ = std::move(scope);
}

void Evaluator::PopScope() { scope_ = std::shared_ptr<Scope>(scope_->parent); }

// Output of a block as a string instead.
std::string Evaluator::Capture(const Block& block) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  PushScope();
  Execute(block);
  PopScope();
  out_ = outer;
  return text;
}

Evaluator::Flow Evaluator::Execute(const Block& block) {
  for (const auto& stmt : block) {
    const Flow flow = ExecuteOne(*stmt);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::ExecuteOne(const Stmt& stmt) {
  const Entered entered(this);
  Step();
  line_ = stmt.line;
  switch (stmt.kind) {
    case Stmt::kText:
      Write(stmt.text);
      break;
    case Stmt::kOutput:
      for (const ExprPtr& expr : stmt.exprs) Write(ToText(Evaluate(*expr)));
      break;
    case Stmt::kIf:
      return ExecuteIf(stmt);
    case Stmt::kFor:
      ExecuteFor(stmt);
      break;
    case Stmt::kSet:
    case Stmt::kSetBlock:
      ExecuteSet(stmt);
      break;
    case Stmt::kMacro:
      scope_->names[stmt.text] = MakeCallable(stmt, stmt.text);
      break;
    case Stmt::kCall:
      ExecuteCallBlock(stmt);
      break;
    case Stmt::kFilterBlock: {
      const Value body = Text(Capture(stmt.blocks[0]));
      Write(ToText(EvaluateFilter(*stmt.exprs[0], &body)));
      break;
    }
    case Stmt::kWith: {
      std::vector<Value> values;
      for (const ExprPtr& expr : stmt.exprs) values.push_back(Evaluate(*expr));
      PushScope();
      for (size_t i = 0; i < values.size(); ++i) {
        Assign(stmt.targets[i], values[i]);
      }
      const Flow flow = Execute(stmt.blocks[0]);
      PopScope();
      return flow;
    }
    case Stmt::kScope:
      Write(Capture(stmt.blocks[0]));
      break;
    case Stmt::kBreak:
      return Flow::kBreak;
    case Stmt::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::ExecuteIf(const Stmt& stmt) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    if (Evaluate(*stmt.exprs[i]).Truth()) return Execute(stmt.blocks[i]);
  }
  if (stmt.blocks.size() > stmt.exprs.size()) {
    return Execute(stmt.blocks.back());
  }
  return Flow::kNormal;
}

void Evaluator::ExecuteFor(const Stmt& stmt) {
  RunLoop(stmt, Evaluate(*stmt.exprs[0]), 0);
}

// What the loop goes over, less what its condition rejects.
std::vector<Value> Evaluator::LoopItems(const Stmt& stmt, const Value& over) {
  std::vector<Value> items = Iterate(over);
  if (!stmt.exprs[1]) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    PushScope();
    Assign(stmt.targets[0], item);
    const bool keep = Evaluate(*stmt.exprs[1]).Truth();
    PopScope();
    if (keep) kept.push_back(std::move(item));
  }
  return kept;
}

void Evaluator::RunLoop(const Stmt& stmt, const Value& over, int level) {
  const Entered entered(this);
  auto loop = std::make_shared<Loop>();
  loop->items = LoopItems(stmt, over);
  loop->level = level;
  for (const Value& item : loop->items) {
    loop->depth = std::max(loop->depth, item.Depth() + 1);
  }
  if (loop->depth > kMaxValueDepth) Fail("a loop's items nest too deeply");
  if (stmt.recursive) {
    auto recurse = std::make_shared<Function>();
    recurse->name = "loop";
    const std::shared_ptr<Scope> around = scope_;
    recurse->call = [&stmt, level, around](Evaluator& e, Arguments& a) {
      const Bound bound("loop", a, {"iterable"}, 1);
      std::string text;
      std::string* const out = std::exchange(e.out_, &text);
      const std::shared_ptr<Scope> scope = std::exchange(e.scope_, around);
      e.RunLoop(stmt, *bound.Get(0), level + 1);
      e.scope_ = scope;
      e.out_ = out;
      return e.Text(std::move(text));
    };
    loop->recurse = std::move(recurse);
    captured_.push_back(around);
  }
  // The else runs if no round came to its end.
  bool complete = false;
  for (loop->index = 0; loop->index < loop->items.size(); ++loop->index) {
    Step();
    PushScope();
    Assign(stmt.targets[0], loop->items[loop->index]);
    scope_->names["loop"] = Value(loop);
    const Flow flow = Execute(stmt.blocks[0]);
    PopScope();
    if (flow == Flow::kBreak) break;
    complete = complete || flow == Flow::kNormal;
  }
  if (complete) return;
  PushScope();
  Execute(stmt.blocks[1]);
  PopScope();
}

void Evaluator::Assign(const Target& target, const Value& value) {
  if (target.is_tuple) {
    const std::vector<Value> values = Iterate(value);
    if (values.size() != target.parts.size()) {
      Fail("cannot unpack " + std::to_string(values.size()) + " values into " +
           std::to_string(target.parts.size()) + " names");
    }
    for (size_t i = 0; i < values.size(); ++i) {
      Assign(target.parts[i], values[i]);
    }
  } else if (target.field.empty()) {
    scope_->names[target.name] = value;
  } else {
    const Value object = Lookup(target.name);
    if (!object.is_namespace()) {
      Fail("cannot assign attribute on non-namespace object '" + target.name +
           "'");
    }
    object.ns().fields[target.field] = value;
  }
}

void Evaluator::ExecuteSet(const Stmt& stmt) {
  if (stmt.kind == Stmt::kSet)
    return Assign(stmt.targets[0], Evaluate(*stmt.exprs[0]));
  Value body = Text(Capture(stmt.blocks[0]));
  if (stmt.exprs[0]) body = EvaluateFilter(*stmt.exprs[0], &body);
  Assign(stmt.targets[0], body);
}

// A macro, or the body of a call block.
Value Evaluator::MakeCallable(const Stmt& stmt, std::string name) {
  captured_.push_back(scope_);
  return MakeFunction(name, [&stmt, name, closure = scope_](
                                Evaluator& e, Arguments& arguments) {
    return e.RunCallable(stmt, name, closure, arguments);
  });
}

Value Evaluator::RunCallable(const Stmt& stmt, const std::string& name,
                             const std::shared_ptr<Scope>& closure,
                             Arguments& arguments) {
  const Entered entered(this);
  const std::shared_ptr<Scope> caller = std::exchange(scope_, closure);
  PushScope();
  BindParameters(stmt, name, arguments);
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  Execute(stmt.blocks[0]);
  out_ = out;
  scope_ = caller;
  return Text(std::move(text));
}

void Evaluator::BindParameters(const Stmt& stmt, const std::string& name,
                               Arguments& arguments) {
  auto& names = scope_->names;
  std::vector<bool> used(arguments.named.size());
  const auto take = [&](const std::string& wanted) -> const Value* {
    for (size_t i = 0; i < used.size(); ++i) {
      if (arguments.named[i].first == wanted) {
        used[i] = true;
        return &arguments.named[i].second;
      }
    }
    return nullptr;
  };
  const size_t count = stmt.parameters.size();
  for (size_t i = 0; i < count; ++i) {
    const Parameter& parameter = stmt.parameters[i];
    const Value* given = take(parameter.name);
    if (i < arguments.positional.size()) {
      if (given) Fail(name + " got two values for '" + parameter.name + "'");
      given = &arguments.positional[i];
    }
    if (given) {
      names[parameter.name] = *given;
    } else if (parameter.fallback) {
      names[parameter.name] = Evaluate(*parameter.fallback);
    } else {
      names[parameter.name] =
          Undefined{std::make_shared<const std::string>(parameter.name)};
    }
  }
  std::vector<Value> rest;
  if (arguments.positional.size() > count) {
    rest.assign(arguments.positional.begin() + static_cast<long>(count),
                arguments.positional.end());
  }
  if (!rest.empty() && !stmt.uses_varargs) {
    Fail("macro '" + name + "' takes not more than " + std::to_string(count) +
         " argument(s)");
  }
  if (stmt.uses_varargs) names["varargs"] = NewList(rest, List::kTuple);
  if (stmt.uses_caller) {
    const Value* caller = take("caller");
    names["caller"] =
        caller
            ? *caller
            : Value(Undefined{std::make_shared<const std::string>("caller")});
  }
  Dict kwargs;
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    const auto& [key, value] = arguments.named[i];
    if (!stmt.uses_kwargs) {
      Fail("macro '" + name + "' takes no keyword argument '" + key + "'");
    }
    kwargs.Set(Value(key), value);
  }
  if (stmt.uses_kwargs) names["kwargs"] = MakeDict(std::move(kwargs));
}

void Evaluator::ExecuteCallBlock(const Stmt& stmt) {
  const Expr& call = *stmt.exprs[0];
  const Value callee = Evaluate(*call.children[0]);
  Arguments arguments = EvaluateArguments(call);
  arguments.named.emplace_back("caller", MakeCallable(stmt, "caller"));
  Write(ToText(Call(callee, arguments)));
}

}  // namespace intarsia::chat_template
