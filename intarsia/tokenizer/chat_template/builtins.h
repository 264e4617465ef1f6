// Filters, tests, methods and functions of the language.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/tokenizer/chat_template/evaluator.h"
#include "intarsia/tokenizer/chat_template/value.h"

namespace intarsia::chat_template {

// The arguments of a call by the names of its parameters.
class Bound {
 public:
  // Fails on too many, unknown, doubled or (the first `required`) missing
  // ones. `what` is the function's name.
  Bound(const std::string& what, const Arguments& arguments,
        std::initializer_list<const char*> names, size_t required = 0);

  // The i-th parameter's value, or null if it was not given.
  const Value* Get(size_t i) const { return values_[i]; }
  // Typed; fails if it has another type.
  std::string Text(size_t i, const char* fallback = "") const;
  int64_t Int(size_t i, int64_t fallback) const;
  bool Flag(size_t i, bool fallback) const;

 private:
  std::string what_;
  std::vector<const char*> names_;
  std::vector<const Value*> values_;
};

using Filter = Value (*)(Evaluator&, const Value& input, Arguments&);
using Test = bool (*)(Evaluator&, const Value& input, Arguments&);

// A table of filters; filters.cc has those of one value, text_filters.cc of
// text, sequence_filters.cc of what can be iterated over.
struct NamedFilter {
  const char* name;
  Filter filter;
};
struct FilterTable {
  const NamedFilter* first;
  size_t size;
};
FilterTable TextFilters();
FilterTable SequenceFilters();

// Null if there is none of that name; RequireFilter fails then.
Filter FindFilter(std::string_view name);
Filter RequireFilter(const std::string& name);
Test FindTest(std::string_view name);  // tests.cc

// A bound method of a string, list or dict; undefined if there is none.
Value FindMethod(const Value& object, const std::string& name);  // methods.cc
Filter FindStringMethod(std::string_view name);  // string_methods.cc

// range, namespace, raise_exception, strftime_now, …
void AddGlobals(Scope* scope);  // functions.cc

// The names of all, for the tests.
std::vector<std::string> FilterNames();
std::vector<std::string> TestNames();
std::vector<std::string> StringMethodNames();

// "%s and %d" % values, as Python formats; format.cc.
std::string PercentFormat(Evaluator& evaluator, const std::string& format,
                          const Value& values);
// "{} and {name}".format(…); brace_format.cc.
std::string BraceFormat(Evaluator& evaluator, const std::string& format,
                        const Arguments& arguments);

// The text of a string argument; fails for anything else.
const std::string& RequireText(const Value& value, const std::string& what);

}  // namespace intarsia::chat_template
