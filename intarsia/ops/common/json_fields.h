// Reads the fields of one JSON object of a configuration, with errors that say
// where they are: "[attention] rope.theta must be a number, not "1e4"".
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

#include "intarsia/core/status.h"

namespace intarsia {

class JsonFields {
 public:
  // `where` names the object inside the room's configuration: "rope".
  JsonFields(const nlohmann::json& json, const std::string& room,
             const std::string& where)
      : json_(json), room_(room), where_(where) {
    if (!json.is_object()) Refuse(" must be an object, not " + json.dump());
  }

  bool Has(const char* key) const {
    return json_.is_object() && json_.contains(key);
  }

  // An absent field leaves *out as it is. T: bool, an integer type, a floating
  // type, or std::string.
  template <typename T>
  void Read(const char* key, T* out) {
    known_.insert(key);
    if (!Has(key)) return;
    const nlohmann::json& value = json_.at(key);
    if constexpr (std::is_same_v<T, bool>) {
      if (!value.is_boolean()) return Refuse(key, "true or false", value);
    } else if constexpr (std::is_integral_v<T>) {
      if (!value.is_number_integer() ||
          !std::in_range<T>(value.get<int64_t>())) {
        return Refuse(key, "an integer", value);
      }
    } else if constexpr (std::is_floating_point_v<T>) {
      if (!value.is_number()) return Refuse(key, "a number", value);
    } else {
      if (!value.is_string()) return Refuse(key, "a string", value);
    }
    *out = value.get<T>();
  }
  // A field that the caller reads itself.
  void Know(const char* key) { known_.insert(key); }

  // The caller's own refusal of a field's value; the first one counts.
  void Refuse(const std::string& key, const std::string& wanted,
              const nlohmann::json& value) {
    Refuse("." + key + " must be " + wanted + ", not " + value.dump());
  }
  void RefuseUnless(bool condition, const char* key,
                    const std::string& wanted) {
    if (!condition) Refuse(key, wanted, Has(key) ? json_.at(key) : nullptr);
  }

  // The first error; a field that nobody read is one.
  Status Finish() {
    if (status_.ok() && json_.is_object()) {
      for (const auto& item : json_.items()) {
        if (known_.contains(item.key())) continue;
        std::string names;
        for (const std::string& name : known_) {
          names += (names.empty() ? "" : ", ") + name;
        }
        Refuse(" has no field \"" + item.key() + "\"; it may have " + names);
        break;
      }
    }
    return status_;
  }

 private:
  void Refuse(const std::string& text) {
    if (status_.ok()) {
      status_ = InvalidArgument("[" + room_ + "] " + where_ + text);
    }
  }

  const nlohmann::json& json_;
  std::string room_, where_;
  std::set<std::string> known_;
  Status status_;
};

}  // namespace intarsia
