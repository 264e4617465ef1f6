// What follows "is".
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"

namespace intarsia::chat_template {
namespace {

// The argument of a test that takes one; a null name: by position only.
const Value& Other(Arguments& a, const char* name = nullptr) {
  if (a.positional.size() == 1 && a.named.empty()) return a.positional[0];
  if (name != nullptr && a.positional.empty() && a.named.size() == 1 &&
      a.named[0].first == name) {
    return a.named[0].second;
  }
  Fail("this test takes one argument");
}

int64_t Modulo(Evaluator& e, const Value& v, const Value& by) {
  const Value rest = e.Arithmetic("%", v, by);
  return rest.is_number() ? (rest.number() == 0   ? 0
                             : rest.number() == 1 ? 1
                                                  : 2)
                          : 2;
}

bool IsLowerTest(Evaluator& e, const Value& v, Arguments&) {
  Arguments none;
  return FindStringMethod("islower")(e, Value(ToText(v)), none).boolean();
}
bool IsUpperTest(Evaluator& e, const Value& v, Arguments&) {
  Arguments none;
  return FindStringMethod("isupper")(e, Value(ToText(v)), none).boolean();
}

bool IsSequence(const Value& v) {
  return v.is_string() || v.is_dict() || v.is_undefined() ||
         (v.is_list() && v.list().kind <= List::kRange);
}

constexpr std::pair<const char*, Test> kTests[] = {
    {"defined",
     [](Evaluator&, const Value& v, Arguments&) { return !v.is_undefined(); }},
    {"undefined",
     [](Evaluator&, const Value& v, Arguments&) { return v.is_undefined(); }},
    {"none",
     [](Evaluator&, const Value& v, Arguments&) { return v.is_none(); }},
    {"boolean",
     [](Evaluator&, const Value& v, Arguments&) { return v.is_bool(); }},
    {"true", [](Evaluator&, const Value& v,
                Arguments&) { return v.is_bool() && v.boolean(); }},
    {"false", [](Evaluator&, const Value& v,
                 Arguments&) { return v.is_bool() && !v.boolean(); }},
    {"integer",
     [](Evaluator&, const Value& v, Arguments&) { return v.is_int(); }},
    {"float",
     [](Evaluator&, const Value& v, Arguments&) { return v.is_float(); }},
    {"number",
     [](Evaluator&, const Value& v, Arguments&) { return v.is_number(); }},
    {"string",
     [](Evaluator&, const Value& v, Arguments&) { return v.is_string(); }},
    {"mapping",
     [](Evaluator&, const Value& v, Arguments&) { return v.is_dict(); }},
    {"sequence",
     [](Evaluator&, const Value& v, Arguments&) { return IsSequence(v); }},
    {"iterable",
     [](Evaluator&, const Value& v, Arguments&) {
       return IsSequence(v) || v.is_list() || v.is_loop();
     }},
    {"callable",
     [](Evaluator&, const Value& v, Arguments&) {
       return v.is_function() || v.is_loop() || v.is_undefined();
     }},
    {"lower", IsLowerTest},
    {"upper", IsUpperTest},
    {"escaped",
     [](Evaluator&, const Value& v, Arguments&) { return v.is_markup(); }},
    {"odd", [](Evaluator& e, const Value& v,
               Arguments&) { return Modulo(e, v, int64_t{2}) == 1; }},
    {"even", [](Evaluator& e, const Value& v,
                Arguments&) { return Modulo(e, v, int64_t{2}) == 0; }},
    {"divisibleby",
     [](Evaluator& e, const Value& v, Arguments& a) {
       return Modulo(e, v, Other(a, "num")) == 0;
     }},
    {"sameas", [](Evaluator&, const Value& v,
                  Arguments& a) { return v.SameObject(Other(a, "other")); }},
    {"in", [](Evaluator& e, const Value& v,
              Arguments& a) { return e.Contains(v, Other(a, "seq")); }},
    {"filter", [](Evaluator&, const Value& v,
                  Arguments&) { return FindFilter(ToText(v)) != nullptr; }},
    {"test", [](Evaluator&, const Value& v,
                Arguments&) { return FindTest(ToText(v)) != nullptr; }},
    {"eq", [](Evaluator&, const Value& v,
              Arguments& a) { return Equal(v, Other(a)); }},
    {"ne", [](Evaluator&, const Value& v,
              Arguments& a) { return !Equal(v, Other(a)); }},
    {"lt", [](Evaluator&, const Value& v,
              Arguments& a) { return Less(v, Other(a)); }},
    {"gt", [](Evaluator&, const Value& v,
              Arguments& a) { return Less(Other(a), v); }},
    {"le",
     [](Evaluator&, const Value& v, Arguments& a) {
       return Less(v, Other(a)) || Equal(v, Other(a));
     }},
    {"ge",
     [](Evaluator&, const Value& v, Arguments& a) {
       return Less(Other(a), v) || Equal(v, Other(a));
     }},
};

constexpr std::pair<const char*, const char*> kAliases[] = {
    {"==", "eq"}, {"equalto", "eq"},     {"!=", "ne"},
    {"<", "lt"},  {"lessthan", "lt"},    {"<=", "le"},
    {">", "gt"},  {"greaterthan", "gt"}, {">=", "ge"},
};

}  // namespace

std::vector<std::string> TestNames() {
  std::vector<std::string> names;
  for (const auto& [name, test] : kTests) names.emplace_back(name);
  for (const auto& [alias, meaning] : kAliases) names.emplace_back(alias);
  return names;
}

Test FindTest(std::string_view name) {
  for (const auto& [alias, meaning] : kAliases) {
    if (name == alias) return FindTest(meaning);
  }
  for (const auto& [known, test] : kTests) {
    if (name == known) return test;
  }
  return nullptr;
}

}  // namespace intarsia::chat_template
