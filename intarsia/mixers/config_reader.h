// Reads the fields of a mixer's JSON configuration, which is untrusted. The
// first fault is kept; readers of later fields then return their fallback, so a
// room reads everything and asks status() once:
//
//   ConfigReader reader(json, "attention");
//   config.heads = reader.Int("heads", 1, 1 << 16);
//   config.window = reader.IntOr("window", 0, 1, 1 << 30);
//   RETURN_IF_ERROR(reader.Finish());
#pragma once

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "intarsia/core/status.h"

namespace intarsia {

class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& json, std::string room)
      : json_(json), room_(std::move(room)) {
    if (!json.is_object()) Fail("the configuration must be an object");
  }

  // The field, or null where it is missing or null. It counts as known.
  const nlohmann::json* Find(const std::string& name) {
    known_.insert(name);
    if (!json_.is_object()) return nullptr;
    const auto it = json_.find(name);
    return it == json_.end() || it->is_null() ? nullptr : &*it;
  }

  // A whole number in [low, high] that must be there.
  int64_t Int(const std::string& name, int64_t low, int64_t high) {
    const nlohmann::json* field = Find(name);
    if (field == nullptr) {
      Fail("\"" + name + "\" is missing: a whole number" + Range(low, high));
      return low;
    }
    return Whole(*field, name, low, high);
  }
  // The same, or `fallback` (any value) where the field is missing or null.
  int64_t IntOr(const std::string& name, int64_t fallback, int64_t low,
                int64_t high) {
    const nlohmann::json* field = Find(name);
    return field == nullptr ? fallback : Whole(*field, name, low, high);
  }

  // A finite number.
  double NumberOr(const std::string& name, double fallback) {
    const nlohmann::json* field = Find(name);
    if (field == nullptr) return fallback;
    if (!field->is_number() || !std::isfinite(field->get<double>())) {
      Fail("\"" + name + "\" must be a finite number" + Got(*field));
      return fallback;
    }
    return field->get<double>();
  }

  bool BoolOr(const std::string& name, bool fallback) {
    const nlohmann::json* field = Find(name);
    if (field == nullptr) return fallback;
    if (!field->is_boolean()) {
      Fail("\"" + name + "\" must be true or false" + Got(*field));
      return fallback;
    }
    return field->get<bool>();
  }

  std::string StringOr(const std::string& name, const std::string& fallback) {
    const nlohmann::json* field = Find(name);
    if (field == nullptr) return fallback;
    if (!field->is_string()) {
      Fail("\"" + name + "\" must be a string" + Got(*field));
      return fallback;
    }
    return field->get<std::string>();
  }

  // Takes the value of a parser's result, or keeps its error.
  template <typename T>
  T Take(Result<T> result, T fallback) {
    if (result.ok()) return std::move(result).value();
    Fail(result.status());
    return fallback;
  }

  // For rules that span fields; the message without the room's name.
  void Require(bool condition, const std::string& message) {
    if (!condition) Fail(message);
  }

  const Status& status() const { return status_; }
  // As status(), and refuses fields that nobody asked for: a misspelt option
  // must not pass for its default.
  Status Finish() {
    if (!status_.ok()) return status_;
    for (const auto& [name, value] : json_.items()) {
      if (known_.count(name) == 0) {
        std::string all;
        for (const std::string& k : known_)
          all += (all.empty() ? "" : ", ") + k;
        Fail("unknown field \"" + name + "\"; there are " + all);
        break;
      }
    }
    return status_;
  }

 private:
  int64_t Whole(const nlohmann::json& field, const std::string& name,
                int64_t low, int64_t high) {
    const bool fits =
        field.is_number_unsigned()
            ? field.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)
            : field.is_number_integer();
    const int64_t value = fits ? field.get<int64_t>() : low - 1;
    if (fits && value >= low && value <= high) return value;
    Fail("\"" + name + "\" must be a whole number" + Range(low, high) +
         Got(field));
    return low;
  }
  static std::string Range(int64_t low, int64_t high) {
    return " in [" + std::to_string(low) + ", " + std::to_string(high) + "]";
  }
  static std::string Got(const nlohmann::json& field) {
    std::string text =
        field.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    if (text.size() > 40) text = text.substr(0, 40) + "...";
    return ", got " + text;
  }
  void Fail(const std::string& message) {
    Fail(InvalidArgument("[" + room_ + "] " + message));
  }
  void Fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

  const nlohmann::json& json_;
  std::string room_;
  std::set<std::string> known_;
  Status status_;
};

}  // namespace intarsia
