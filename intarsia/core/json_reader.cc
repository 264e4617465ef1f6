#include "intarsia/core/json_reader.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

using Json = nlohmann::json;

// A value as messages show it: ASCII (the text may go to a terminal), short.
std::string Shown(const Json& value, size_t limit = 40) {
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    return std::to_string(value.get<double>());  // JSON would say null
  }
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > limit) text = text.substr(0, limit) + "...";
  return text;
}

std::string Got(const Json& value) { return ", got " + Shown(value); }

std::string Range(int low, int high) {
  return " in [" + std::to_string(low) + ", " + std::to_string(high) + "]";
}

}  // namespace

JsonReader::JsonReader(const Json& json, std::string room, JsonPlace place)
    : json_(json), room_(std::move(room)), place_(std::move(place)) {
  if (json.is_object()) return;
  Fail((place_.path.empty() ? "the configuration"
                            : Shown(Json(place_.path), 200)) +
       " must be an object" + Got(json));
}

const Json* JsonReader::Find(const std::string& name) {
  read_.insert(name);
  if (!json_.is_object()) return nullptr;
  const auto it = json_.find(place_.key_prefix + name);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

int JsonReader::Int(const std::string& name, int low, int high) {
  const Json* field = Find(name);
  if (field != nullptr) return Whole(*field, name, low, high);
  Fail(Quoted(name) + " is missing: a whole number" + Range(low, high));
  return low;
}

int JsonReader::IntOr(const std::string& name, int fallback, int low,
                      int high) {
  const Json* field = Find(name);
  return field == nullptr ? fallback : Whole(*field, name, low, high);
}

int JsonReader::Whole(const Json& field, const std::string& name, int low,
                      int high) {
  // An unsigned number above INT64_MAX would wrap to a negative one.
  const bool fits = field.is_number_unsigned()
                        ? field.get<uint64_t>() <= uint64_t{INT64_MAX}
                        : field.is_number_integer();
  if (fits && field.get<int64_t>() >= low && field.get<int64_t>() <= high) {
    return field.get<int>();
  }
  Fail(Quoted(name) + " must be a whole number" + Range(low, high) +
       Got(field));
  return low;
}

double JsonReader::NumberOr(const std::string& name, double fallback) {
  const Json* field = Find(name);
  if (field == nullptr) return fallback;
  if (field->is_number() && std::isfinite(field->get<double>())) {
    return field->get<double>();
  }
  Fail(Quoted(name) + " must be a finite number" + Got(*field));
  return fallback;
}

bool JsonReader::BoolOr(const std::string& name, bool fallback) {
  const Json* field = Find(name);
  if (field == nullptr) return fallback;
  if (field->is_boolean()) return field->get<bool>();
  Fail(Quoted(name) + " must be true or false" + Got(*field));
  return fallback;
}

std::string JsonReader::String(const std::string& name) {
  if (Find(name) == nullptr) Fail(Quoted(name) + " is missing: a string");
  return StringOr(name, "");
}

std::string JsonReader::StringOr(const std::string& name,
                                 const std::string& fallback) {
  const Json* field = Find(name);
  if (field == nullptr) return fallback;
  if (field->is_string()) return field->get<std::string>();
  Fail(Quoted(name) + " must be a string" + Got(*field));
  return fallback;
}

const Json* JsonReader::List(const std::string& name) {
  const Json* field = Find(name);
  if (field == nullptr) {
    Fail(Quoted(name) + " is missing: a list of at least one entry");
  } else if (!field->is_array() || field->empty()) {
    Fail(Quoted(name) + " must be a list of at least one entry" + Got(*field));
    return nullptr;
  }
  return field;
}

Json JsonReader::ObjectOr(const std::string& name) {
  const Json* field = Find(name);
  if (field == nullptr) return Json::object();
  if (field->is_object()) return *field;
  Fail(Quoted(name) + " must be an object" + Got(*field));
  return Json::object();
}

std::vector<int> JsonReader::Ids(const std::string& name) {
  std::vector<int> ids;
  const Json* field = Find(name);
  if (field == nullptr) return ids;
  constexpr int kLast = std::numeric_limits<int>::max();
  if (!field->is_array()) return {Whole(*field, name, -1, kLast)};
  for (size_t i = 0; i < field->size(); ++i) {
    const std::string place = name + "[" + std::to_string(i) + "]";
    ids.push_back(Whole((*field)[i], place, -1, kLast));
  }
  return ids;
}

void JsonReader::Expect(const std::string& name, const Json& value) {
  const Json* field = Find(name);
  if (field == nullptr || *field == value) return;
  Require(false,
          Quoted(name) + ": " + Shown(*field) + " is not supported (only " +
              Shown(value) + ")",
          StatusCode::kUnsupported);
}

void JsonReader::Ignore(std::initializer_list<const char*> names) {
  for (const char* name : names) read_.insert(name);
}

void JsonReader::Require(bool condition, const std::string& message,
                         StatusCode code) {
  if (!condition) Keep(Status(code, "[" + room_ + "] " + message));
}

void JsonReader::RequireField(bool condition, const std::string& name,
                              const std::string& wanted) {
  if (condition) return;
  const Json* field = Find(name);
  Fail(Quoted(name) + " must be " + wanted +
       (field == nullptr ? ", and is absent" : Got(*field)));
}

Status JsonReader::Finish() {
  if (!status_.ok()) return status_;
  const std::vector<std::string> unread = UnreadNames();
  if (unread.empty()) return status_;
  std::string known;
  for (const std::string& name : read_) {
    known += (known.empty() ? "" : ", ") + name;
  }
  Fail("unknown field " + Quoted(unread[0]) + "; there are " + known);
  return status_;
}

std::vector<std::string> JsonReader::Unread() const {
  std::vector<std::string> names = UnreadNames();
  std::erase_if(names, [&](const std::string& name) {
    return json_[place_.key_prefix + name].is_null();
  });
  return names;
}

std::vector<std::string> JsonReader::UnreadNames() const {
  std::vector<std::string> names;
  if (!json_.is_object()) return names;
  for (const auto& item : json_.items()) {
    if (!item.key().starts_with(place_.key_prefix)) continue;
    std::string name = item.key().substr(place_.key_prefix.size());
    if (!read_.contains(name)) names.push_back(std::move(name));
  }
  return names;
}

std::string JsonReader::Quoted(const std::string& name) const {
  const std::string path = place_.path.empty() ? "" : place_.path + ".";
  return Shown(Json(path + place_.key_prefix + name), 200);
}

void JsonReader::Keep(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

}  // namespace intarsia
