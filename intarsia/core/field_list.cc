#include "intarsia/core/field_list.h"

#include <cmath>
#include <cstdio>

namespace intarsia {
namespace {

std::string Shown(double value) {
  if (!std::isfinite(value)) return "none";
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

class FieldLister final : public Fields {
 public:
  std::vector<FieldInfo> Take() { return std::move(fields_); }

  void FlagsOr(const char* name, std::initializer_list<Flag> flags) override {
    std::string names;
    for (const Flag& flag : flags) {
      names += std::string(names.empty() ? "" : ", ") + flag.first;
    }
    Add({.name = name, .required = false}, "true, false or an object",
        "{" + names + "}", "false");
  }
  void NumbersOr(const char* name, std::vector<float>*, int,
                 const char* what) override {
    Add({.name = name, .required = false}, "list of numbers",
        "positive, one " + std::string(what), "none");
  }
  void NumbersOr(const char* name, std::span<float> values) override {
    std::string numbers;
    for (float value : values) {
      numbers += (numbers.empty() ? "[" : ", ") + Shown(value);
    }
    Add({.name = name, .required = false}, "list of numbers",
        std::to_string(values.size()), numbers + "]");
  }
  void OptionalNumber(const char* name, std::optional<double>*) override {
    Add({.name = name, .required = false}, "number", "", "none");
  }
  void Names(const char* name, std::vector<std::string>*,
             IntRange count) override {
    AddList(name, "list of names", count);
  }
  void Text(const char* name, std::string* json) override {
    Add({.name = name, .required = false}, "object", "", *json);
  }
  void IdsOr(const char* name, std::vector<int>*) override {
    Add({.name = name, .required = false}, "token id or list", "", "none");
  }
  void Case(bool, const char* when, const Visitor& visit) override {
    const std::string outside = when_;
    when_ = when;
    visit(*this);
    when_ = outside;
  }
  void Require(bool, const std::string&, StatusCode) override {}
  void RequireField(bool, const char*, const std::string&) override {}

 protected:
  // Rules and defaults that follow compute with the value: it is in the range.
  void OnInt(const Field& field, int* value, IntRange range) override {
    Add(field, "whole number",
        std::to_string(range.low) + " to " + std::to_string(range.high),
        *value < range.low ? "none" : std::to_string(*value));
    if (field.required) *value = range.low;
  }
  void OnNumber(const Field& field, double* value) override {
    Add(field, "number", "", Shown(*value));
  }
  void OnBool(const Field& field, bool* value) override {
    Add(field, "true or false", "", *value ? "true" : "false");
  }
  void OnString(const Field& field, std::string* value) override {
    Add(field, "string", "", "\"" + *value + "\"");
  }
  void OnChoice(const char* name, int* value, const Choice& choice) override {
    std::string names, fallback = "false";
    for (const ChoiceName& known : choice.names) {
      names += std::string(names.empty() ? "" : ", ") + known.name;
      if (fallback == "false" && known.value == *value &&
          (choice.on == nullptr || *choice.on)) {
        fallback = known.name;
      }
    }
    if (choice.on != nullptr) names += ", false";
    if (choice.visit != nullptr) names += ", an object";
    Add({.name = name, .required = false}, "name", names, fallback);
    if (choice.visit != nullptr) Inside(name, *choice.visit);
  }
  void OnObject(const char* name, bool* on, const Visitor& visit) override {
    Add({.name = name, .required = false}, "object",
        on != nullptr ? "true, false, an object" : "",
        on != nullptr && !*on ? "false" : "{}");
    Inside(name, visit);
  }
  void OnList(const char* name, IntRange count, size_t entries,
              const EntryVisitor& visit) override {
    AddList(name, "list of objects", count);
    const std::string entry = std::string(name) + "[]";
    Inside(entry.c_str(), [&](Fields& f) { visit(f, entries); });
  }

 private:
  void AddList(const char* name, const char* type, IntRange count) {
    Add({.name = name, .required = count.low > 0}, type,
        std::to_string(count.low) + " to " + std::to_string(count.high),
        "none");
  }
  void Add(const Field& field, std::string type, std::string allowed,
           std::string fallback) {
    if (field.words != nullptr) fallback = field.words;
    if (field.required) fallback.clear();
    fields_.push_back({.name = prefix_ + field.name,
                       .type = std::move(type),
                       .allowed = std::move(allowed),
                       .fallback = std::move(fallback),
                       .when = when_,
                       .required = field.required});
  }
  void Inside(const char* name, const Visitor& visit) {
    const std::string outside = prefix_;
    prefix_ += std::string(name) + ".";
    visit(*this);
    prefix_ = outside;
  }

  std::vector<FieldInfo> fields_;
  std::string prefix_, when_;
};

}  // namespace

std::vector<FieldInfo> ListFields(const Fields::Visitor& visit) {
  FieldLister lister;
  visit(lister);
  return lister.Take();
}

}  // namespace intarsia
