// Fields: a configuration declares each of its fields once, in one function,
// and is read, written and listed by that function:
//
//   struct RetentionConfig {
//     int dim = 0, heads = 0, chunk = 64;
//     RopeConfig rope;
//     void Visit(Fields& f) {
//       f.Int("heads", &heads, {1, 1 << 12});           // must be there
//       f.IntOr("chunk", &chunk, {1, 1 << 12});         // 64 if it is absent
//       f.Object("rope", &rope);
//       f.Require(heads % 2 == 0, "\"heads\" must be even");
//     }
//   };
//
// What may be absent has the value of its member as default, or one that is
// given beside words that say how it comes about. A field that is absent or
// null keeps its default. core/json_fields.h reads and writes JSON,
// core/field_schema.h makes a schema. No header here knows of JSON.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

struct IntRange {
  int low = 0, high = 1 << 30;
};

// A name that stands for a value of an enumeration. Of several names of one
// value the first is written.
struct ChoiceName {
  template <typename E>
  constexpr ChoiceName(const char* text, E kind)
      : name(text), value(static_cast<int>(kind)) {}

  const char* name;
  int value;
};
using ChoiceNames = std::span<const ChoiceName>;

class Fields {
 public:
  using Visitor = std::function<void(Fields&)>;

  virtual ~Fields() = default;

  // A whole number in the range. IntOr: its default need not be in the range,
  // and stands for the field's absence where it is not.
  void Int(const char* name, int* value, IntRange range) {
    OnInt({name}, value, range);
  }
  void Int(const char* name, int64_t* value, IntRange range) {
    int narrow = static_cast<int>(*value);
    Int(name, &narrow, range);
    *value = narrow;
  }
  void IntOr(const char* name, int* value, IntRange range) {
    OnInt({.name = name, .required = false}, value, range);
  }
  void IntOr(const char* name, int* value, IntRange range, int fallback,
             const char* words) {
    if (!writing()) *value = fallback;
    OnInt({.name = name, .required = false, .words = words}, value, range);
  }
  void IntOr(const char* name, int64_t* value, IntRange range) {
    int narrow = static_cast<int>(*value);
    IntOr(name, &narrow, range);
    *value = narrow;
  }
  // A finite number. An infinite default stands for the field's absence.
  void NumberOr(const char* name, double* value, const char* words = nullptr) {
    OnNumber({.name = name, .required = false, .words = words}, value);
  }
  void NumberOr(const char* name, float* value, const char* words = nullptr) {
    double wide = *value;
    NumberOr(name, &wide, words);
    *value = static_cast<float>(wide);
  }
  template <typename Number>
  void NumberOr(const char* name, Number* value, double fallback,
                const char* words) {
    if (!writing()) *value = static_cast<Number>(fallback);
    NumberOr(name, value, words);
  }
  // Finite, or absent.
  virtual void OptionalNumber(const char* name,
                              std::optional<double>* value) = 0;
  void BoolOr(const char* name, bool* value) {
    OnBool({.name = name, .required = false}, value);
  }
  // true and false set all, an object each: "bias": {"q": true}.
  using Flag = std::pair<const char*, bool*>;
  virtual void FlagsOr(const char* name, std::initializer_list<Flag> flags) = 0;
  void String(const char* name, std::string* value) {
    OnString({.name = name}, value);
  }
  void StringOr(const char* name, std::string* value) {
    OnString({.name = name, .required = false}, value);
  }
  // `count` positive numbers (what: "a pair of channels"), or none.
  virtual void NumbersOr(const char* name, std::vector<float>* values,
                         int count, const char* what) = 0;
  // As many finite numbers as there are values.
  virtual void NumbersOr(const char* name, std::span<float> values) = 0;
  // Names, as many as `count` says; a list that may be empty may be absent.
  virtual void Names(const char* name, std::vector<std::string>* names,
                     IntRange count) = 0;
  // A token id or a list of them, each at least -1 (none).
  virtual void IdsOr(const char* name, std::vector<int>* ids) = 0;

  // One of the names.
  template <typename E>
  void ChoiceOr(const char* name, E* value, ChoiceNames names) {
    ChoiceOr(name, value, {.names = names});
  }
  // As well `false` in place of a name, for none.
  template <typename E>
  void ChoiceOrOff(const char* name, std::optional<E>* value,
                   ChoiceNames names) {
    bool on = value->has_value();
    E kind = value->value_or(E());
    ChoiceOr(name, &kind, {.names = names, .on = &on});
    *value = on ? std::optional<E>(kind) : std::nullopt;
  }
  // As well an object with the fields of `visit`: then the value is `other`.
  template <typename E>
  void ChoiceOrObject(const char* name, E* value, ChoiceNames names, E other,
                      const Visitor& visit) {
    ChoiceOr(
        name, value,
        {.names = names, .other = static_cast<int>(other), .visit = &visit});
  }

  // A configuration within this one; where it is absent, it stays as it is.
  template <typename T>
  void Object(const char* name, T* value) {
    Object(name, value, [&](Fields& f) { value->Visit(f); });
  }
  // `visit` declares its fields, where T::Visit takes more than the fields.
  template <typename T, typename Visit>
  void Object(const char* name, T* value, Visit visit) {
    OnObject(name, nullptr, [&](Fields& f) {
      if (!f.writing()) *value = T();
      visit(f);
    });
  }
  // Fields of this configuration that stand in an object of their own.
  void Group(const char* name, const Visitor& visit) {
    OnObject(name, nullptr, visit);
  }
  // An object of a configuration that is known later, as text; the field `of`
  // names its primitive.
  virtual void Text(const char* name, std::string* json, const char* of) = 0;
  // Objects of type T, as many as `count` says; a list that may be empty may be
  // absent. `visit(f, &entry)` declares the fields of one.
  template <typename T>
  void List(const char* name, std::vector<T>* entries, IntRange count) {
    List(name, entries, count, [](Fields& f, T* entry) { entry->Visit(f); });
  }
  template <typename T, typename Visit>
  void List(const char* name, std::vector<T>* entries, IntRange count,
            Visit visit) {
    OnList(name, count, entries->size(), [&](Fields& f, size_t i) {
      if (i == entries->size()) entries->emplace_back();
      visit(f, &(*entries)[i]);
    });
  }
  // As well true, for an object without fields, and false: `on` says which.
  template <typename T, typename Visit>
  void ObjectOrOff(const char* name, T* value, bool T::*on, Visit visit) {
    OnObject(name, &(value->*on), [&](Fields& f) {
      if (!f.writing()) *value = T();
      visit(f);
    });
  }

  // Fields that exist under a condition alone. `when` says it for the table.
  virtual void Case(bool condition, const char* /*when*/,
                    const Visitor& visit) {
    if (condition) visit(*this);
  }

  // Rules that span fields, for a reader to check. The message is without the
  // room's name.
  virtual void Require(bool condition, const std::string& message,
                       StatusCode code = StatusCode::kInvalidArgument) = 0;
  // A rule for one field: "<name> must be <wanted>, got ...".
  virtual void RequireField(bool condition, const char* name,
                            const std::string& wanted) = 0;

  // The one of two names of a field that is in use.
  virtual const char* Either(const char* name, const char* /*older*/) {
    return name;
  }

  virtual bool writing() const { return false; }

 protected:
  struct Field {
    const char* name;
    bool required = true;
    const char* words = nullptr;  // of a default that others decide
  };
  struct Choice {
    ChoiceNames names;
    bool* on = nullptr;  // not null: may be false
    int other = 0;
    const Visitor* visit = nullptr;  // not null: may be an object
  };
  virtual void OnInt(const Field& field, int* value, IntRange range) = 0;
  virtual void OnNumber(const Field& field, double* value) = 0;
  virtual void OnBool(const Field& field, bool* value) = 0;
  virtual void OnString(const Field& field, std::string* value) = 0;
  virtual void OnChoice(const char* name, int* value, const Choice& choice) = 0;
  virtual void OnObject(const char* name, bool* on, const Visitor& visit) = 0;
  using EntryVisitor = std::function<void(Fields&, size_t)>;
  virtual void OnList(const char* name, IntRange count, size_t entries,
                      const EntryVisitor& visit) = 0;

 private:
  template <typename E>
  void ChoiceOr(const char* name, E* value, const Choice& choice) {
    int number = static_cast<int>(*value);
    OnChoice(name, &number, choice);
    *value = static_cast<E>(number);
  }
};

}  // namespace intarsia
