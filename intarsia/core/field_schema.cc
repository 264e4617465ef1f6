#include "intarsia/core/field_schema.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/core/json_fields.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

class SchemaWriter final : public Fields {
 public:
  Json Take() {
    Json schema = {{"type", "object"},
                   {"properties", std::move(properties_)},
                   {"additionalProperties", false}};
    if (!required_.empty()) schema["required"] = std::move(required_);
    if (!refers_.empty()) {
      schema["allOf"] = {{{"$ref", "#/$defs/" + refers_}}};
    }
    return schema;
  }

  void FlagsOr(const char* name, std::initializer_list<Flag> flags) override {
    Json all = Inner([&](Fields& f) {
      for (const Flag& flag : flags) f.BoolOr(flag.first, flag.second);
    });
    Add(Optional(name), {{"anyOf", {{{"type", "boolean"}}, std::move(all)}}},
        false);
  }
  void NumbersOr(const char* name, std::vector<float>*, int,
                 const char* what) override {
    Add(Optional(name),
        {{"type", "array"},
         {"items", {{"type", "number"}, {"exclusiveMinimum", 0}}},
         {"description", "one " + std::string(what)}});
  }
  void NumbersOr(const char* name, std::span<float> values) override {
    Add(Optional(name), List({0, 0}, {{"type", "number"}}, values.size()),
        values);
  }
  void OptionalNumber(const char* name, std::optional<double>*) override {
    Add(Optional(name), {{"type", "number"}});
  }
  void Names(const char* name, std::vector<std::string>*,
             IntRange count) override {
    Add({.name = name, .required = count.low > 0},
        List(count, {{"type", "string"}, {"minLength", 1}}));
  }
  void IdsOr(const char* name, std::vector<int>*) override {
    const Json id = {{"type", "integer"}, {"minimum", -1}};
    Add(Optional(name), {{"anyOf", {id, {{"type", "array"}, {"items", id}}}}});
  }
  void Text(const char* name, std::string*, const char* of) override {
    Add(Optional(name), {{"type", "object"}}, Json::object());
    refers_ = of;
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
    const bool there = *value >= range.low && *value <= range.high;
    Add(field,
        {{"type", "integer"}, {"minimum", range.low}, {"maximum", range.high}},
        there ? Json(*value) : Json());
    if (field.required) *value = range.low;
  }
  void OnNumber(const Field& field, double* value) override {
    Add(field, {{"type", "number"}},
        std::isfinite(*value) ? Json(*value) : Json());
  }
  void OnBool(const Field& field, bool* value) override {
    Add(field, {{"type", "boolean"}}, *value);
  }
  void OnString(const Field& field, std::string* value) override {
    Add(field, {{"type", "string"}}, *value);
  }
  void OnChoice(const char* name, int* value, const Choice& choice) override {
    Json names = Json::array(), fallback;
    for (const ChoiceName& known : choice.names) {
      names.push_back(known.name);
      if (fallback.is_null() && known.value == *value) fallback = known.name;
    }
    if (choice.on != nullptr) {
      names.push_back(false);
      if (!*choice.on) fallback = false;
    }
    Json schema = {{"enum", std::move(names)}};
    if (choice.visit != nullptr) {
      schema = {{"anyOf", {std::move(schema), Inner(*choice.visit)}}};
    }
    Add(Optional(name), std::move(schema), std::move(fallback));
  }
  void OnObject(const char* name, bool* on, const Visitor& visit) override {
    const bool off = on != nullptr && !*on;
    const Json before = WriteFields(visit);
    Json schema = Inner(visit);
    // One that is absent need not be what an empty object is.
    Json fallback = off                            ? Json(false)
                    : before == WriteFields(visit) ? Json::object()
                                                   : before;
    if (on != nullptr) {
      schema = {{"anyOf", {{{"type", "boolean"}}, std::move(schema)}}};
    }
    Add(Optional(name), std::move(schema), std::move(fallback));
  }
  void OnList(const char* name, IntRange count, size_t entries,
              const EntryVisitor& visit) override {
    Add({.name = name, .required = count.low > 0},
        List(count, Inner([&](Fields& f) { visit(f, entries); })));
  }

 private:
  static Field Optional(const char* name) {
    return {.name = name, .required = false};
  }
  static Json Inner(const Visitor& visit) { return FieldSchema(visit); }
  static Json List(IntRange count, Json items, size_t exactly = 0) {
    if (exactly > 0) count.low = count.high = static_cast<int>(exactly);
    return {{"type", "array"},
            {"items", std::move(items)},
            {"minItems", count.low},
            {"maxItems", count.high}};
  }
  void Add(const Field& field, Json schema, Json fallback = Json()) {
    if (field.words != nullptr) {
      schema["x-default"] = field.words;
    } else if (!field.required && !fallback.is_null()) {
      schema["default"] = std::move(fallback);
    }
    if (!when_.empty()) schema["x-when"] = when_;
    if (field.required && when_.empty()) required_.push_back(field.name);
    properties_[field.name] = std::move(schema);
  }

  Json properties_ = Json::object(), required_ = Json::array();
  std::string when_, refers_;
};

}  // namespace

Json FieldSchema(const Fields::Visitor& visit) {
  SchemaWriter writer;
  visit(writer);
  return writer.Take();
}

}  // namespace intarsia
