// What follows "is".
#include <algorithm>
#include <iterator>
#include <utility>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/chat_template/text.h"

namespace intarsia::chat_template {
namespace {

// The argument of a test that takes one.
const Value& Other(Arguments& a) {
  if (a.positional.size() != 1 || !a.named.empty()) {
    Fail("this test takes one argument");
  }
  return a.positional[0];
}

int64_t Modulo(Evaluator& e, const Value& v, const Value& by) {
  const Value rest = e.Arithmetic("%", v, by);
  return rest.is_number() ? (rest.number() == 0   ? 0
                             : rest.number() == 1 ? 1
                                                  : 2)
                          : 2;
}

// All cased letters of one case, and at least one.
template <typename Convert>
bool AllOfCase(const Value& v, Convert other_case) {
  const std::u32string all = Characters(ToText(v));
  bool seen = false;
  for (const char32_t c : all) {
    if (other_case(c) != c) seen = true;
  }
  return seen;
}

bool IsLower(Evaluator&, const Value& v, Arguments&) {
  return AllOfCase(v, ToUpperCharacter) && !AllOfCase(v, ToLowerCharacter);
}
bool IsUpper(Evaluator&, const Value& v, Arguments&) {
  return AllOfCase(v, ToLowerCharacter) && !AllOfCase(v, ToUpperCharacter);
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
    {"callable", [](Evaluator&, const Value& v,
                    Arguments&) { return v.is_function() || v.is_loop(); }},
    {"lower", IsLower},
    {"upper", IsUpper},
    {"escaped", [](Evaluator&, const Value&, Arguments&) { return false; }},
    {"odd", [](Evaluator& e, const Value& v,
               Arguments&) { return Modulo(e, v, int64_t{2}) == 1; }},
    {"even", [](Evaluator& e, const Value& v,
                Arguments&) { return Modulo(e, v, int64_t{2}) == 0; }},
    {"divisibleby", [](Evaluator& e, const Value& v,
                       Arguments& a) { return Modulo(e, v, Other(a)) == 0; }},
    {"sameas", [](Evaluator&, const Value& v,
                  Arguments& a) { return v.SameObject(Other(a)); }},
    {"in", [](Evaluator& e, const Value& v,
              Arguments& a) { return e.Contains(v, Other(a)); }},
    {"filter",
     [](Evaluator&, const Value& v, Arguments&) {
       const std::string name = ToText(v);
       return FindFilter(name) != nullptr ||
              FindSequenceFilter(name) != nullptr;
     }},
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
