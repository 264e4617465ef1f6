// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/tokenizer/chat_template/value.h"

namespace intarsia::chat_template {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum Kind {
    kConst,      // value
    kName,       // text
    kTuple,      // children
    kList,       // children
    kDict,       // children: key, value, key, value …
    kCondition,  // children: test, then, else (may be null)
    kOr,
    kAnd,
    kNot,
    kCompare,     // children; operators[i] between children i and i + 1
    kArithmetic,  // operators[0] between two children
    kConcat,      // children, as text
    kNegative,
    kPositive,
    kAttribute,  // children[0].text
    kItem,       // children[0][children[1]]
    kSlice,      // children: start, stop, step, each may be null
    kCall,       // children[0], then arguments
    kFilter,     // text; children[0] (null in a filter block), then arguments
    kTest,       // text; children[0], then arguments
  };
  Kind kind = kConst;
  int line = 1;
  int depth = 1;  // of the tree below
  std::string text;
  Value value;
  std::vector<std::string> operators;
  std::vector<ExprPtr> children;
  std::vector<std::pair<std::string, ExprPtr>> named;  // arguments
  ExprPtr star, double_star;                           // *list, **dict
};

// What is assigned to: a name, a namespace's field ("name.field"), or what a
// tuple is unpacked into.
struct Target {
  std::string name, field;
  std::vector<Target> parts;
  bool is_tuple = false;
};

struct Stmt;
using Block = std::vector<std::unique_ptr<Stmt>>;

struct Parameter {
  std::string name;
  ExprPtr fallback;  // null: none
};

struct Stmt {
  enum Kind {
    kText,      // text
    kOutput,    // exprs
    kIf,        // exprs[i] guards blocks[i]; one more block is the else
    kFor,       // targets[0] in exprs[0] if exprs[1] (null: always);
                // blocks: body, else
    kSet,       // targets[0] = exprs[0]
    kSetBlock,  // targets[0] = blocks[0] through filters exprs[0] (null: none)
    kMacro,     // text(parameters): blocks[0]
    kCall,      // exprs[0] with caller(parameters): blocks[0]
    kFilterBlock,  // blocks[0] through filters exprs[0]
    kWith,         // targets[i] = exprs[i]; blocks[0]
    kScope,        // blocks[0]
    kBreak,
    kContinue,
  };
  Kind kind = kText;
  int line = 1;
  std::string text;
  std::vector<ExprPtr> exprs;
  std::vector<Block> blocks;
  std::vector<Target> targets;
  bool recursive = false;
  std::vector<Parameter> parameters;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};

}  // namespace intarsia::chat_template
