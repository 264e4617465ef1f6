#include <algorithm>
#include <cmath>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/chat_template/evaluator.h"
#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {
namespace {

Value UndefinedNamed(std::string name) {
  return Undefined{std::make_shared<const std::string>(std::move(name))};
}

// A position counted from the end if negative; -1 if outside.
int64_t Position(int64_t index, size_t size) {
  const auto n = static_cast<int64_t>(size);
  if (index < 0) index += n;
  return index >= 0 && index < n ? index : -1;
}

// What a Python slice selects of `size` items: from `first` on by steps of
// `by` up to, not including, `last`.
struct Slice {
  int64_t first, last, by;
  std::vector<int64_t> positions;
};

Slice SliceOf(const Value& start, const Value& stop, const Value& step,
              size_t size) {
  const auto n = static_cast<int64_t>(size);
  const auto integer = [](const Value& v) {
    if (!v.is_int() && !v.is_bool()) {
      Fail("slice indices must be integers or None");
    }
    return v.integer();
  };
  const int64_t by = step.is_none() ? 1 : integer(step);
  if (by == 0) Fail("slice step cannot be zero");
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? n : n - 1;
  const auto clamp = [&](const Value& v, int64_t fallback) {
    if (v.is_none()) return fallback;
    int64_t i = integer(v);
    if (i < 0) i = i < -n ? low : i + n;
    return std::clamp(i, low, high);
  };
  Slice slice{clamp(start, by > 0 ? low : high),
              clamp(stop, by > 0 ? high : low),
              by,
              {}};
  for (int64_t i = slice.first; by > 0 ? i < slice.last : i > slice.last;) {
    slice.positions.push_back(i);
    if (by > n || by < -n) break;
    i += by;
  }
  return slice;
}

Value LoopAttribute(const Loop& loop, const std::string& name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(loop.items.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return length - index;
  if (name == "revindex0") return length - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == length;
  if (name == "length") return length;
  if (name == "depth") return static_cast<int64_t>(loop.level + 1);
  if (name == "depth0") return static_cast<int64_t>(loop.level);
  if (name == "previtem" && index > 0) return loop.items[loop.index - 1];
  if (name == "nextitem" && index + 1 < length)
    return loop.items[loop.index + 1];
  return UndefinedNamed(name);
}

}  // namespace

void Evaluator::RequireDefined(const Value& value) {
  if (!value.is_undefined()) return;
  const auto& name = value.undefined().name;
  Fail((name ? "'" + *name + "'" : std::string("a value")) + " is undefined");
}

Value Evaluator::Text(std::string text) {
  Step(text.size());
  if (text.size() > options_.limits.output_bytes) Fail("a string is too long");
  return Value(std::move(text));
}

Value Evaluator::NewList(std::vector<Value> items, List::Kind kind) {
  Step(items.size() * 8);
  if (items.size() > options_.limits.list_items) Fail("a list is too long");
  return MakeList(std::move(items), kind);
}

Value Evaluator::NewRange(std::vector<Value> items, int64_t start, int64_t stop,
                          int64_t step) {
  Step(items.size() * 8);
  auto list = std::make_shared<List>();
  list->kind = List::kRange;
  list->start = start;
  list->stop = stop;
  list->step = step;
  list->depth = 2;
  for (const Value& item : items) list->weight += item.Weight();
  list->items = std::move(items);
  return Value(std::shared_ptr<const List>(std::move(list)));
}

Value Evaluator::NewNamespace() {
  namespaces_.push_back(std::make_shared<Namespace>());
  return Value(namespaces_.back());
}

std::vector<Value> Evaluator::Iterate(const Value& value) {
  if (value.is_undefined()) return {};
  if (value.is_list()) {
    const List& list = value.list();
    Step(list.items.size() * 8);
    const auto begin = list.items.begin() + static_cast<long>(list.used);
    if (list.kind == List::kGenerator) list.used = list.items.size();
    return std::vector<Value>(begin, list.items.end());
  }
  std::vector<Value> items;
  if (value.is_dict()) {
    Step(value.dict().items.size() * 8);
    for (const auto& [key, unused] : value.dict().items) items.push_back(key);
    return items;
  }
  if (value.is_string()) {
    Step(value.string().size() * 16);
    for (const char32_t c : Characters(value.string())) {
      items.emplace_back(FromCharacters({&c, 1}));
    }
    return items;
  }
  Fail(std::string("'") + value.TypeName() + "' object is not iterable");
}

Value Evaluator::Lookup(const std::string& name) {
  for (const Scope* scope = scope_.get(); scope; scope = scope->parent.get()) {
    const auto it = scope->names.find(name);
    if (it != scope->names.end()) return it->second;
  }
  return UndefinedNamed(name);
}

Value Evaluator::Attribute(const Value& object, const std::string& name) {
  RequireDefined(object);
  if (object.is_namespace()) {
    const auto it = object.ns().fields.find(name);
    return it == object.ns().fields.end() ? UndefinedNamed(name) : it->second;
  }
  if (object.is_loop()) {
    if (name == "cycle" || name == "changed") return FindMethod(object, name);
    return LoopAttribute(object.loop(), name);
  }
  if (object.is_list() && object.list().is_group) {
    if (name == "grouper") return object.list().items[0];
    if (name == "list") return object.list().items[1];
  }
  // Python's methods hide the keys of a dict: schema.items is the method.
  Value method = FindMethod(object, name);
  if (!method.is_undefined()) return method;
  if (object.is_dict()) {
    if (const Value* found = object.dict().FindName(name)) return *found;
  }
  return UndefinedNamed(name);
}

Value Evaluator::Item(const Value& object, const Value& key) {
  RequireDefined(object);
  if (object.is_dict()) {
    if (!key.is_string()) Step(object.Weight());
    if (const Value* found = object.dict().Find(key)) return *found;
  } else if (key.is_int() || key.is_bool()) {
    if (object.is_list() && object.list().kind <= List::kRange) {
      const auto& items = object.list().items;
      const int64_t at = Position(key.integer(), items.size());
      if (at >= 0) return items[static_cast<size_t>(at)];
    } else if (object.is_string()) {
      Step(object.string().size());
      const std::u32string all = Characters(object.string());
      const int64_t at = Position(key.integer(), all.size());
      if (at >= 0) return FromCharacters({&all[static_cast<size_t>(at)], 1});
    }
  }
  if (key.is_string()) return Attribute(object, key.string());
  return UndefinedNamed(Repr(key));
}

Value Evaluator::Call(const Value& callee, Arguments& arguments) {
  RequireDefined(callee);
  Step();
  if (callee.is_loop() && callee.loop().recurse) {
    return callee.loop().recurse->call(*this, arguments);
  }
  if (!callee.is_function()) {
    Fail(std::string("'") + callee.TypeName() + "' object is not callable");
  }
  const Value keep = callee;  // the call may overwrite the name it came from
  return keep.function().call(*this, arguments);
}

bool Evaluator::Contains(const Value& item, const Value& container) {
  if (container.is_string()) {
    if (!item.is_string()) {
      Fail(std::string("'in <string>' requires string as left operand, not ") +
           item.TypeName());
    }
    Step(container.string().size());
    return container.string().find(item.string()) != std::string::npos;
  }
  if (!container.is_dict() || !item.is_string()) Step(container.Weight());
  if (container.is_dict()) return container.dict().Find(item) != nullptr;
  const std::vector<Value> items = Iterate(container);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& other) { return Equal(item, other); });
}

// ---- Arithmetic.

namespace {

int64_t IntegerArithmetic(const std::string& op, int64_t a, int64_t b) {
  int64_t r = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &r);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &r);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &r);
  } else if (op == "**") {
    r = 1;
    // Beyond 64 doublings only 0, 1 and -1 stay in range.
    if (b > 64 && (a > 1 || a < -1)) Fail("an integer is too large");
    if (b > 64) b = 64 + b % 2;
    for (int64_t i = 0; i < b; ++i) {
      overflow = overflow || __builtin_mul_overflow(r, a, &r);
    }
  } else {
    if (b == 0) Fail("integer division or modulo by zero");
    if (b == -1) return op == "%" ? 0 : IntegerArithmetic("-", 0, a);
    r = a / b;
    int64_t rest = a % b;
    if (rest != 0 && (rest < 0) != (b < 0)) {  // towards minus infinity
      --r;
      rest += b;
    }
    return op == "%" ? rest : r;
  }
  if (overflow) Fail("an integer is too large");
  return r;
}

double FloatArithmetic(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") {
    if (a == 0 && b < 0) Fail("0.0 cannot be raised to a negative power");
    if (a < 0 && b != std::floor(b)) Fail("a power is not a real number");
    return std::pow(a, b);
  }
  if (b == 0) Fail("float division by zero");
  if (op == "/") return a / b;
  if (op == "//") return std::floor(a / b);
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

}  // namespace

Value Evaluator::Arithmetic(const std::string& op, const Value& a,
                            const Value& b) {
  RequireDefined(a);
  RequireDefined(b);
  if (a.is_number() && b.is_number()) {
    const bool negative_power = op == "**" && !b.is_float() && b.integer() < 0;
    if (a.is_float() || b.is_float() || op == "/" || negative_power) {
      return FloatArithmetic(op, a.number(), b.number());
    }
    return IntegerArithmetic(op, a.integer(), b.integer());
  }
  if (op == "+" && a.is_string() && b.is_string()) {
    if (a.is_markup() == b.is_markup()) {
      const Value text = Text(a.string() + b.string());
      return a.is_markup() ? text.AsMarkup() : text;
    }
    const auto html = [](const Value& v) {
      return v.is_markup() ? v.string() : EscapeHtml(v.string());
    };
    return Text(html(a) + html(b)).AsMarkup();
  }
  if (op == "+" && a.is_list() && b.is_list() &&
      a.list().kind == b.list().kind && a.list().kind <= List::kTuple) {
    std::vector<Value> items = a.list().items;
    items.insert(items.end(), b.list().items.begin(), b.list().items.end());
    return NewList(std::move(items), a.list().kind);
  }
  if (op == "%" && a.is_string()) {
    return Text(PercentFormat(*this, a.string(), b));
  }
  const bool swap = a.is_int() || a.is_bool();
  const Value& sequence = swap ? b : a;
  const Value& times = swap ? a : b;
  if (op == "*" && (times.is_int() || times.is_bool())) {
    const auto count =
        static_cast<size_t>(std::max<int64_t>(times.integer(), 0));
    if (sequence.is_string()) {
      const std::string& unit = sequence.string();
      if (count > 0 && unit.size() > options_.limits.output_bytes / count) {
        Fail("a string is too long");
      }
      std::string text;
      for (size_t i = 0; i < (unit.empty() ? 0 : count); ++i) text += unit;
      return Text(std::move(text));
    }
    if (sequence.is_list() && sequence.list().kind <= List::kTuple) {
      const auto& unit = sequence.list().items;
      if (count > 0 && unit.size() > options_.limits.list_items / count) {
        Fail("a list is too long");
      }
      std::vector<Value> items;
      for (size_t i = 0; i < (unit.empty() ? 0 : count); ++i) {
        items.insert(items.end(), unit.begin(), unit.end());
      }
      return NewList(std::move(items), sequence.list().kind);
    }
  }
  Fail("unsupported operand type(s) for " + op + ": '" + a.TypeName() +
       "' and '" + b.TypeName() + "'");
}

// ---- The tree.

Value Evaluator::Evaluate(const Expr& expr) {
  struct Level {  // one of recursion
    explicit Level(int* depth) : depth(depth) {
      if (++*depth > 700) Fail("the template calls itself too deeply");
    }
    ~Level() { --*depth; }
    int* depth;
  } level(&depth_);
  Step();
  const auto child = [&](size_t i) { return Evaluate(*expr.children[i]); };
  const auto children = [&] {
    std::vector<Value> values;
    for (const ExprPtr& e : expr.children) values.push_back(Evaluate(*e));
    return values;
  };
  switch (expr.kind) {
    case Expr::kConst:
      return expr.value;
    case Expr::kName:
      return Lookup(expr.text);
    case Expr::kTuple:
      return NewList(children(), List::kTuple);
    case Expr::kList:
      return NewList(children());
    case Expr::kDict:
      return EvaluateDict(expr);
    case Expr::kCondition:
      if (child(0).Truth()) return child(1);
      return expr.children[2] ? child(2) : Value();
    case Expr::kOr: {
      Value left = child(0);
      return left.Truth() ? left : child(1);
    }
    case Expr::kAnd: {
      Value left = child(0);
      return left.Truth() ? child(1) : left;
    }
    case Expr::kNot:
      return !child(0).Truth();
    case Expr::kCompare:
      return EvaluateCompare(expr);
    case Expr::kArithmetic: {
      const Value left = child(0);
      return Arithmetic(expr.operators[0], left, child(1));
    }
    case Expr::kConcat:
      return EvaluateConcat(expr);
    case Expr::kNegative: {
      const Value value = child(0);
      if (value.is_float()) return -value.number();  // of 0.0: -0.0
      return Arithmetic("-", int64_t{0}, value);
    }
    case Expr::kPositive:
      return Arithmetic("+", int64_t{0}, child(0));
    case Expr::kAttribute:
      return Attribute(child(0), expr.text);
    case Expr::kItem:
      return EvaluateItem(expr);
    case Expr::kSlice:
      Fail("a slice outside of a subscript");
    case Expr::kCall: {
      const Value callee = child(0);
      RequireDefined(callee);
      Arguments arguments = EvaluateArguments(expr);
      return Call(callee, arguments);
    }
    case Expr::kFilter:
      return EvaluateFilter(expr, nullptr);
    case Expr::kTest: {
      const Test test = FindTest(expr.text);
      if (test == nullptr) Fail("No test named '" + expr.text + "'.");
      const Value input = child(0);
      if (input.is_string()) Step(input.Weight());
      Arguments arguments = EvaluateArguments(expr);
      return test(*this, input, arguments);
    }
  }
  return Value();
}

Value Evaluator::EvaluateCompare(const Expr& expr) {
  Value left = Evaluate(*expr.children[0]);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = Evaluate(*expr.children[i + 1]);
    const std::string& op = expr.operators[i];
    Step(std::min(left.Weight(), right.Weight()));
    bool holds = false;
    if (op == "==") {
      holds = Equal(left, right);
    } else if (op == "!=") {
      holds = !Equal(left, right);
    } else if (op == "in") {
      holds = Contains(left, right);
    } else if (op == "not in") {
      holds = !Contains(left, right);
    } else if (op == "<") {
      holds = Less(left, right);
    } else if (op == ">") {
      holds = Less(right, left);
    } else if (op == "<=") {
      holds = Less(left, right) || Equal(left, right);
    } else {
      holds = Less(right, left) || Equal(left, right);
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Evaluator::EvaluateConcat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& child : expr.children) {
    text += ToText(Evaluate(*child));
    if (text.size() > options_.limits.output_bytes)
      Fail("a string is too long");
  }
  return Text(std::move(text));
}

Value Evaluator::EvaluateDict(const Expr& expr) {
  Dict dict;
  for (size_t i = 0; i < expr.children.size(); i += 2) {
    const Value key = Evaluate(*expr.children[i]);
    if (key.is_dict() || (key.is_list() && key.list().kind == List::kList)) {
      Fail(std::string("unhashable type: '") + key.TypeName() + "'");
    }
    dict.Set(key, Evaluate(*expr.children[i + 1]));
  }
  return MakeDict(std::move(dict));
}

Value Evaluator::EvaluateItem(const Expr& expr) {
  const Value object = Evaluate(*expr.children[0]);
  RequireDefined(object);
  const Expr& index = *expr.children[1];
  if (index.kind == Expr::kSlice) return EvaluateSlice(object, index);
  return Item(object, Evaluate(index));
}

Value Evaluator::EvaluateSlice(const Value& object, const Expr& slice) {
  Value bounds[3] = {None{}, None{}, None{}};
  for (size_t i = 0; i < 3; ++i) {
    if (slice.children[i]) bounds[i] = Evaluate(*slice.children[i]);
  }
  if (object.is_string()) {
    Step(object.string().size());
    const std::u32string all = Characters(object.string());
    std::u32string out;
    for (const int64_t i :
         SliceOf(bounds[0], bounds[1], bounds[2], all.size()).positions) {
      out += all[static_cast<size_t>(i)];
    }
    return Text(FromCharacters(out));
  }
  if (object.is_list() && object.list().kind <= List::kRange) {
    const List& list = object.list();
    const Slice part =
        SliceOf(bounds[0], bounds[1], bounds[2], list.items.size());
    std::vector<Value> out;
    for (const int64_t i : part.positions) {
      out.push_back(list.items[static_cast<size_t>(i)]);
    }
    if (list.kind == List::kRange) {
      int64_t step = 0;
      if (__builtin_mul_overflow(list.step, part.by, &step)) {
        Fail("an integer is too large");
      }
      return NewRange(std::move(out), list.start + part.first * list.step,
                      list.start + part.last * list.step, step);
    }
    return NewList(std::move(out), list.kind);
  }
  if (object.is_dict()) Fail("unhashable type: 'slice'");
  return UndefinedNamed("slice");
}

Value Evaluator::EvaluateFilter(const Expr& expr, const Value* input) {
  const Filter filter = RequireFilter(expr.text);
  // A chain of filter blocks ends in the block's text.
  const Expr* inner = expr.children[0].get();
  Value value;
  if (inner == nullptr) {
    value = *input;
  } else if (inner->kind == Expr::kFilter && input != nullptr) {
    value = EvaluateFilter(*inner, input);
  } else {
    value = Evaluate(*inner);
  }
  Arguments arguments = EvaluateArguments(expr);
  Step(value.is_string() ? value.Weight() : 0);
  return filter(*this, value, arguments);
}

// Arguments after the first child.
Arguments Evaluator::EvaluateArguments(const Expr& call) {
  Arguments arguments;
  for (size_t i = 1; i < call.children.size(); ++i) {
    arguments.positional.push_back(Evaluate(*call.children[i]));
  }
  for (const auto& [name, expr] : call.named) {
    arguments.named.emplace_back(name, Evaluate(*expr));
  }
  if (call.star) {
    for (Value& value : Iterate(Evaluate(*call.star))) {
      arguments.positional.push_back(std::move(value));
    }
  }
  if (call.double_star) {
    const Value dict = Evaluate(*call.double_star);
    if (!dict.is_dict()) Fail("argument after ** must be a mapping");
    for (const auto& [key, value] : dict.dict().items) {
      arguments.named.emplace_back(RequireText(key, "a keyword"), value);
    }
  }
  return arguments;
}

}  // namespace intarsia::chat_template
