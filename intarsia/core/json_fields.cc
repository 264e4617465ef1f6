#include "intarsia/core/json_fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// "a", "b" or "c".
std::string Joined(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += i + 1 == items.size() ? " or " : ", ";
    text += items[i];
  }
  return text;
}

class FieldReader final : public Fields {
 public:
  // `changed`, if there is one, gets the fields that say what absence would not
  // say.
  FieldReader(const Json& json, const std::string& room,
              const std::string& path, Json* changed)
      : reader_(json, room, {.path = path}),
        room_(room),
        path_(path),
        changed_(changed) {}

  Status Finish() { return reader_.Finish(); }

  void FlagsOr(const char* name, std::initializer_list<Flag> flags) override {
    const Json* field = reader_.Find(name);
    if (field == nullptr) return;
    std::string names;
    bool changed = false;
    const auto set = [&](const Flag& flag, bool on) {
      changed |= *flag.second != on;
      *flag.second = on;
    };
    for (const Flag& flag : flags) {
      if (field->is_boolean()) set(flag, field->get<bool>());
      names += std::string(names.empty() ? "" : ", ") + flag.first;
    }
    reader_.RequireField(field->is_boolean() || field->is_object(), name,
                         "true, false or an object with booleans " + names);
    if (field->is_object()) {
      const auto visit = [&](Fields& f) {
        for (const Flag& flag : flags) {
          bool on = false;
          f.BoolOr(flag.first, &on);
          set(flag, on);
        }
      };
      ReadInner(name, *field, visit, nullptr);
    }
    Keep(name, changed);
  }

  void NumbersOr(const char* name, std::vector<float>* values, int count,
                 const char* what) override {
    const Json* field = reader_.Find(name);
    if (field == nullptr) return;
    reader_.RequireField(
        field->is_array() && field->size() == static_cast<size_t>(count), name,
        "a list of " + std::to_string(count) + " positive numbers, one " +
            what);
    if (!field->is_array() || field->size() != static_cast<size_t>(count)) {
      return;  // a list takes memory that the file does not
    }
    std::vector<float> read(count);
    if (ReadNumbers(name, read, " positive numbers, one " + std::string(what),
                    true)) {
      Keep(name, read != *values);
      *values = std::move(read);
    }
  }
  void NumbersOr(const char* name, std::span<float> values) override {
    std::vector<float> read(values.size());
    if (ReadNumbers(name, read, " numbers", false)) {
      Keep(name, !std::ranges::equal(read, values));
      std::ranges::copy(read, values.begin());
    }
  }
  void OptionalNumber(const char* name, std::optional<double>* value) override {
    if (reader_.Find(name) == nullptr) return;
    *value = reader_.NumberOr(name, 0.0);
    Keep(name);
  }

  void Names(const char* name, std::vector<std::string>* names,
             IntRange count) override {
    const Json* list = FindList(name, count, "names");
    if (list == nullptr) return;
    for (const Json& entry : *list) {
      const bool right = entry.is_string() && entry != "";
      reader_.RequireField(right, name, "a list of names");
      if (!right) return;
      names->push_back(entry.get<std::string>());
    }
    Keep(name, !list->empty());
  }
  void IdsOr(const char* name, std::vector<int>* ids) override {
    if (reader_.Find(name) == nullptr) return;
    *ids = reader_.Ids(name);
    Keep(name, !ids->empty());
  }
  void Text(const char* name, std::string* json, const char*) override {
    const Json* field = reader_.Find(name);
    if (field == nullptr) return;
    reader_.RequireField(field->is_object(), name, "an object");
    if (field->is_object()) *json = field->dump();
    Keep(name, !field->empty());
  }
  const char* Either(const char* name, const char* older) override {
    const bool there = reader_.Find(name) != nullptr;
    const bool old = reader_.Find(older) != nullptr;
    reader_.RequireField(!there || !old, older,
                         "absent beside \"" + std::string(name) +
                             "\", of which it is an older name");
    return old ? older : name;
  }

  void Require(bool condition, const std::string& message,
               StatusCode code) override {
    reader_.Require(condition, message, code);
  }
  void RequireField(bool condition, const char* name,
                    const std::string& wanted) override {
    reader_.RequireField(condition, name, wanted);
  }

 protected:
  void OnInt(const Field& field, int* value, IntRange range) override {
    Set(field, value,
        field.required
            ? reader_.Int(field.name, range.low, range.high)
            : reader_.IntOr(field.name, *value, range.low, range.high));
  }
  void OnNumber(const Field& field, double* value) override {
    Set(field, value, reader_.NumberOr(field.name, *value));
  }
  void OnBool(const Field& field, bool* value) override {
    Set(field, value, reader_.BoolOr(field.name, *value));
  }
  void OnString(const Field& field, std::string* value) override {
    Set(field, value,
        field.required ? reader_.String(field.name)
                       : reader_.StringOr(field.name, *value));
  }

  void OnChoice(const char* name, int* value, const Choice& choice) override {
    const Json* field = reader_.Find(name);
    if (field == nullptr) return;
    if (choice.on != nullptr) {
      const bool on = *field != false;
      Keep(name, on != *choice.on);
      *choice.on = on;
      if (!on) return;
    }
    std::vector<std::string> allowed;
    if (choice.visit != nullptr) {
      if (field->is_object()) {
        *value = choice.other;
        return Nested(name, *field, *choice.visit);
      }
    } else if (!field->is_string()) {
      (void)reader_.StringOr(name, "");
      return;
    }
    for (const ChoiceName& known : choice.names) {
      if (*field == known.name) {
        Keep(name, *value != known.value);
        *value = known.value;
        return;
      }
      allowed.push_back("\"" + std::string(known.name) + "\"");
    }
    if (choice.on != nullptr) allowed.push_back("false");
    if (choice.visit != nullptr) allowed.push_back("an object");
    reader_.RequireField(false, name, Joined(allowed));
  }

  void OnObject(const char* name, bool* on, const Visitor& visit) override {
    const Json* field = reader_.Find(name);
    if (field == nullptr) return;
    const auto written = [&] {
      return on != nullptr && !*on ? Json(false) : WriteFields(visit);
    };
    const Json before = changed_ == nullptr ? Json() : written();
    const bool flag = on != nullptr && field->is_boolean();
    const bool wanted = !flag || field->get<bool>();
    if (wanted) Nested(name, flag ? Json::object() : *field, visit);
    if (on != nullptr) *on = wanted;
    if (changed_ == nullptr) return;
    if (!wanted) Keep(name);
    if (written() == before) changed_->erase(name);
  }

  void OnList(const char* name, IntRange count, size_t,
              const EntryVisitor& visit) override {
    const Json* list = FindList(name, count, "objects");
    if (list == nullptr) return;
    Json changes = Json::array();
    for (size_t i = 0; i < list->size() && reader_.status().ok(); ++i) {
      Json change = Json::object();
      const std::string entry = name + ("[" + std::to_string(i) + "]");
      ReadInner(
          entry, (*list)[i], [&](Fields& f) { visit(f, i); },
          changed_ == nullptr ? nullptr : &change);
      if (changed_ != nullptr) changes.push_back(std::move(change));
    }
    if (!changes.empty()) (*changed_)[name] = std::move(changes);
  }

 private:
  template <typename T>
  void Set(const Field& field, T* value, T read) {
    Keep(field.name,
         field.required || field.words != nullptr || !(read == *value));
    *value = std::move(read);
  }
  void Keep(const char* name, bool changed = true) {
    if (changed_ == nullptr || !changed) return;
    if (const Json* field = reader_.Find(name)) (*changed_)[name] = *field;
  }

  // False where the field is absent or at fault.
  bool ReadNumbers(const char* name, std::span<float> values,
                   const std::string& what, bool positive) {
    const Json* list = reader_.Find(name);
    if (list == nullptr) return false;
    bool right = list->is_array() && list->size() == values.size();
    for (size_t i = 0; right && i < values.size(); ++i) {
      right = (*list)[i].is_number();
      if (right) values[i] = (*list)[i].get<float>();
      right = right && std::isfinite(values[i]) && (!positive || values[i] > 0);
    }
    reader_.RequireField(right, name,
                         "a list of " + std::to_string(values.size()) + what);
    return right;
  }

  // Null: absent, which is right where the list may be empty, or at fault.
  const Json* FindList(const char* name, IntRange count, const char* what) {
    const Json* list = count.low > 0 ? reader_.List(name) : reader_.Find(name);
    if (list == nullptr) return nullptr;
    const bool right = list->is_array() &&
                       list->size() >= static_cast<size_t>(count.low) &&
                       list->size() <= static_cast<size_t>(count.high);
    reader_.RequireField(right, name,
                         "a list of " + std::to_string(count.low) + " to " +
                             std::to_string(count.high) + " " + what);
    return right ? list : nullptr;
  }

  void Nested(const std::string& name, const Json& json, const Visitor& visit) {
    Json change = Json::object();
    ReadInner(name, json, visit, changed_ == nullptr ? nullptr : &change);
    if (changed_ != nullptr) (*changed_)[name] = std::move(change);
  }
  void ReadInner(const std::string& name, const Json& json,
                 const Visitor& visit, Json* changed) {
    FieldReader inner(json, room_, path_.empty() ? name : path_ + "." + name,
                      changed);
    visit(inner);
    Status status = inner.Finish();
    if (!status.ok()) reader_.Take<int>(std::move(status), 0);
  }

  JsonReader reader_;
  const std::string room_, path_;
  Json* const changed_;
};

class FieldWriter final : public Fields {
 public:
  Json Take() { return std::move(json_); }

  void FlagsOr(const char* name, std::initializer_list<Flag> flags) override {
    for (const Flag& flag : flags) json_[name][flag.first] = *flag.second;
  }
  void NumbersOr(const char* name, std::vector<float>* values, int,
                 const char*) override {
    if (!values->empty()) json_[name] = *values;
  }
  void NumbersOr(const char* name, std::span<float> values) override {
    json_[name] = values;
  }
  void OptionalNumber(const char* name, std::optional<double>* value) override {
    if (value->has_value()) json_[name] = **value;
  }
  void Names(const char* name, std::vector<std::string>* names,
             IntRange) override {
    json_[name] = *names;
  }
  void Text(const char* name, std::string* json, const char*) override {
    json_[name] = Json::parse(*json);
  }
  void IdsOr(const char* name, std::vector<int>* ids) override {
    json_[name] = *ids;
  }
  void Require(bool, const std::string&, StatusCode) override {}
  void RequireField(bool, const char*, const std::string&) override {}
  bool writing() const override { return true; }

 protected:
  void OnInt(const Field& field, int* value, IntRange range) override {
    if (*value >= range.low && *value <= range.high) json_[field.name] = *value;
  }
  void OnNumber(const Field& field, double* value) override {
    if (std::isfinite(*value)) json_[field.name] = *value;
  }
  void OnBool(const Field& field, bool* value) override {
    json_[field.name] = *value;
  }
  void OnString(const Field& field, std::string* value) override {
    json_[field.name] = *value;
  }
  void OnChoice(const char* name, int* value, const Choice& choice) override {
    if (choice.on != nullptr && !*choice.on) {
      json_[name] = false;
    } else if (choice.visit != nullptr && *value == choice.other) {
      json_[name] = WriteFields(*choice.visit);
    } else {
      for (const ChoiceName& known : choice.names) {
        if (known.value != *value) continue;
        json_[name] = known.name;
        return;
      }
    }
  }
  void OnObject(const char* name, bool* on, const Visitor& visit) override {
    json_[name] = on != nullptr && !*on ? Json(false) : WriteFields(visit);
  }
  void OnList(const char* name, IntRange, size_t entries,
              const EntryVisitor& visit) override {
    Json list = Json::array();
    for (size_t i = 0; i < entries; ++i) {
      list.push_back(WriteFields([&](Fields& f) { visit(f, i); }));
    }
    json_[name] = std::move(list);
  }

 private:
  Json json_ = Json::object();
};

}  // namespace

Status ReadFields(const Json& json, const std::string& room,
                  const Fields::Visitor& visit, const std::string& path,
                  Json* changed) {
  FieldReader reader(json, room, path, changed);
  visit(reader);
  return reader.Finish();
}

Json WriteFields(const Fields::Visitor& visit) {
  FieldWriter writer;
  visit(writer);
  return writer.Take();
}

Json WriteChanged(const Fields::Visitor& config, const Fields::Visitor& fresh) {
  Json changed = Json::object();
  const Status status =
      ReadFields(WriteFields(config), "fields", fresh, "", &changed);
  CHECK(status.ok()) << status.message();
  return changed;
}

}  // namespace intarsia
