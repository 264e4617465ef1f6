// Values of the template language: Python's, as far as templates can see them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace intarsia::chat_template {

// What ends a rendering. Thrown inside this folder, caught at its door.
class TemplateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
[[noreturn]] void Fail(const std::string& message);

class Evaluator;
class Value;
struct Arguments;

struct Undefined {
  std::shared_ptr<const std::string> name;  // for messages; may be null
};
struct None {};

struct List {
  // A generator is what Python's lazy filters return: true whatever it holds,
  // without length, and used up by reading it. kKeys, kValues and kItems are
  // what a dict's methods of these names give.
  enum Kind { kList, kTuple, kRange, kKeys, kValues, kItems, kGenerator };
  Kind kind = kList;
  bool is_group = false;  // a tuple of groupby: has fields grouper and list
  int64_t start = 0, stop = 0, step = 1;  // of a range
  std::vector<Value> items;
  mutable size_t used = 0;  // of a generator
  int depth = 1;            // of nesting
  size_t weight = 0;        // Value::Weight of the items together
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;       // in order of insertion
  std::unordered_map<std::string, size_t> by_name;  // string keys only
  int depth = 1;
  size_t weight = 0;  // at least the items' together

  const Value* Find(const Value& key) const;
  const Value* FindName(std::string_view name) const;
  void Set(const Value& key, const Value& value);
};

// The one thing a template may change.
struct Namespace {
  std::map<std::string, Value> fields;
};

struct Function {
  std::string name;
  std::function<Value(Evaluator&, Arguments&)> call;
  int depth = 1;
};

struct Loop {
  std::vector<Value> items;
  size_t index = 0;  // of the item now
  int level = 0;     // of recursion
  int depth = 1;
  std::optional<std::string> last_changed;  // what loop.changed was told
  std::shared_ptr<const Function> recurse;  // loop(items), or null
};

class Value {
 public:
  Value() = default;
  Value(None) : data_(None{}) {}                   // NOLINT: implicit
  Value(Undefined u) : data_(std::move(u)) {}      // NOLINT
  Value(bool b) : data_(b) {}                      // NOLINT
  Value(int64_t i) : data_(i) {}                   // NOLINT
  Value(double d) : data_(d) {}                    // NOLINT
  Value(const char* s) : Value(std::string(s)) {}  // NOLINT
  Value(std::string s)                             // NOLINT
      : data_(std::make_shared<const std::string>(std::move(s))) {}
  Value(std::shared_ptr<const List> l) : data_(std::move(l)) {}      // NOLINT
  Value(std::shared_ptr<const Dict> d) : data_(std::move(d)) {}      // NOLINT
  Value(std::shared_ptr<Namespace> n) : data_(std::move(n)) {}       // NOLINT
  Value(std::shared_ptr<const Function> f) : data_(std::move(f)) {}  // NOLINT
  Value(std::shared_ptr<Loop> l) : data_(std::move(l)) {}            // NOLINT

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_string() const { return Holds<const std::string>(); }
  bool is_list() const { return Holds<const List>(); }
  bool is_dict() const { return Holds<const Dict>(); }
  bool is_namespace() const { return Holds<Namespace>(); }
  bool is_function() const { return Holds<const Function>(); }
  bool is_loop() const { return Holds<Loop>(); }

  // The contents; the kind must be right.
  bool boolean() const { return std::get<bool>(data_); }
  // Text that is HTML already (Python's Markup): what is added to it gets
  // escaped. Only escape, safe and + make it.
  bool is_markup() const { return markup_; }
  Value AsMarkup() const {
    Value value = *this;
    value.markup_ = is_string();
    return value;
  }
  const std::string& string() const { return *Get<const std::string>(); }
  const List& list() const { return *Get<const List>(); }
  const Dict& dict() const { return *Get<const Dict>(); }
  Namespace& ns() const { return *Get<Namespace>(); }
  const Function& function() const { return *Get<const Function>(); }
  Loop& loop() const { return *Get<Loop>(); }
  const Undefined& undefined() const { return std::get<Undefined>(data_); }
  // Of a bool or int; of any number.
  int64_t integer() const;
  double number() const;

  bool Truth() const;
  int Depth() const;  // of nesting: 0 for what holds nothing
  // About how many bytes it takes to write or compare: what lists share counts
  // for each.
  size_t Weight() const;
  const char* TypeName() const;               // as Python calls it
  bool SameObject(const Value& other) const;  // Python's `is`

 private:
  template <typename T>
  bool Holds() const {
    return std::holds_alternative<std::shared_ptr<T>>(data_);
  }
  template <typename T>
  const std::shared_ptr<T>& Get() const {
    return std::get<std::shared_ptr<T>>(data_);
  }

  std::variant<Undefined, None, bool, int64_t, double,
               std::shared_ptr<const std::string>, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
               std::shared_ptr<const Function>, std::shared_ptr<Loop>>
      data_;
  bool markup_ = false;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Lists and dicts nest at most this deep, so that recursion over them is safe.
inline constexpr int kMaxValueDepth = 100;
// And hold at most so much, so that it ends in time: a list of a list twice, of
// that twice, and so on is small in memory only.
inline constexpr size_t kMaxValueWeight = size_t{1} << 25;

Value MakeList(std::vector<Value> items, List::Kind kind = List::kList);
Value MakeDict(Dict dict);
// `depth`: of the values that `call` holds on to.
Value MakeFunction(std::string name,
                   std::function<Value(Evaluator&, Arguments&)> call,
                   int depth = 0);

bool Equal(const Value& a, const Value& b);
// a < b as Python orders them; fails for kinds that have no order.
bool Less(const Value& a, const Value& b);

// str() and repr().
std::string ToText(const Value& value);
std::string Repr(const Value& value);
// A repr with escapes for all but ASCII, as of ascii().
std::string AsciiOnly(const std::string& repr);

// From JSON; fails if it nests too deeply.
Value FromJson(const nlohmann::ordered_json& json, int depth = 0);

// json.dumps of Python. No indent: on one line.
struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // of each level
  bool sort_keys = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string ToJson(const Value& value, const JsonStyle& style);

}  // namespace intarsia::chat_template
