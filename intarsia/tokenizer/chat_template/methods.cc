// Methods of lists, dicts and loops, and the binding of methods to values.
#include <algorithm>
#include <iterator>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"

namespace intarsia::chat_template {
namespace {

Value ListIndex(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("index", a, {"value", "start", "stop"}, 1);
  const auto& items = v.list().items;
  e.Step(items.size() * 8);
  const auto size = static_cast<int64_t>(items.size());
  const auto position = [&](size_t i, int64_t fallback) {
    const int64_t p = bound.Int(i, fallback);
    return std::clamp<int64_t>(p < 0 ? p + size : p, 0, size);
  };
  const int64_t end = position(2, size);
  for (int64_t i = position(1, 0); i < end; ++i) {
    if (Equal(items[static_cast<size_t>(i)], *bound.Get(0))) return i;
  }
  Fail(Repr(*bound.Get(0)) + " is not in list");
}

Value ListCount(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("count", a, {"value"}, 1);
  const auto& items = v.list().items;
  e.Step(items.size() * 8);
  return static_cast<int64_t>(std::count_if(
      items.begin(), items.end(),
      [&](const Value& item) { return Equal(item, *bound.Get(0)); }));
}

// Lists never change, so a copy may be the same one.
Value Copy(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("copy", a, {});
  return v;
}

Value DictItems(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("items", a, {});
  std::vector<Value> out;
  for (const auto& [key, value] : v.dict().items) {
    out.push_back(MakeList({key, value}, List::kTuple));
  }
  return e.NewList(std::move(out), List::kItems);
}

Value DictKeys(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("keys", a, {});
  return e.NewList(e.Iterate(v), List::kKeys);
}

Value DictValues(Evaluator& e, const Value& v, Arguments& a) {
  const Bound bound("values", a, {});
  std::vector<Value> out;
  for (const auto& [key, value] : v.dict().items) out.push_back(value);
  return e.NewList(std::move(out), List::kValues);
}

Value DictGet(Evaluator&, const Value& v, Arguments& a) {
  const Bound bound("get", a, {"key", "default"}, 1);
  if (const Value* found = v.dict().Find(*bound.Get(0))) return *found;
  return bound.Get(1) ? *bound.Get(1) : Value(None{});
}

Value LoopCycle(Evaluator&, const Value& v, Arguments& a) {
  if (a.positional.empty()) Fail("no items for cycling given");
  return a.positional[v.loop().index % a.positional.size()];
}

Value LoopChanged(Evaluator& e, const Value& v, Arguments& a) {
  std::string now = Repr(MakeList(a.positional));
  e.Step(now.size());
  const bool changed = v.loop().last_changed != now;
  v.loop().last_changed = std::move(now);
  return changed;
}

Value Refuse(Evaluator&, const Value& v, Arguments&) {
  Fail(std::string("a template may not change a ") + v.TypeName());
}

struct Named {
  const char* name;
  Filter method;
};
constexpr Named kListMethods[] = {
    {"index", ListIndex}, {"count", ListCount}, {"append", Refuse},
    {"clear", Refuse},    {"extend", Refuse},   {"insert", Refuse},
    {"pop", Refuse},      {"remove", Refuse},   {"reverse", Refuse},
    {"sort", Refuse},     {"copy", Copy},
};
constexpr Named kTupleMethods[] = {{"index", ListIndex}, {"count", ListCount}};
constexpr Named kDictMethods[] = {
    {"items", DictItems}, {"keys", DictKeys},  {"values", DictValues},
    {"get", DictGet},     {"copy", Copy},      {"clear", Refuse},
    {"pop", Refuse},      {"popitem", Refuse}, {"setdefault", Refuse},
    {"update", Refuse},
};
constexpr Named kLoopMethods[] = {{"cycle", LoopCycle},
                                  {"changed", LoopChanged}};

template <size_t N>
Filter FindIn(const Named (&methods)[N], const std::string& name) {
  const auto* it = std::find_if(std::begin(methods), std::end(methods),
                                [&](const Named& m) { return name == m.name; });
  return it == std::end(methods) ? nullptr : it->method;
}

Filter Find(const Value& object, const std::string& name) {
  if (object.is_string()) return FindStringMethod(name);
  if (object.is_dict()) return FindIn(kDictMethods, name);
  if (object.is_loop()) return FindIn(kLoopMethods, name);
  if (!object.is_list()) return nullptr;
  if (object.list().kind == List::kList) return FindIn(kListMethods, name);
  return object.list().kind <= List::kRange ? FindIn(kTupleMethods, name)
                                            : nullptr;
}

}  // namespace

Value FindMethod(const Value& object, const std::string& name) {
  const Filter method = Find(object, name);
  if (method == nullptr) {
    return Undefined{std::make_shared<const std::string>(name)};
  }
  return MakeFunction(
      name,
      [method, object](Evaluator& e, Arguments& arguments) {
        if (object.is_string()) e.Step(object.Weight());
        return method(e, object, arguments);
      },
      object.Depth());
}

}  // namespace intarsia::chat_template
