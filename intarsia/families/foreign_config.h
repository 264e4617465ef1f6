// Reads a foreign configuration field by field: keeps the first error, and
// remembers what was read so that the rest can be reported as ignored.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

class ForeignConfig {
 public:
  // `family` starts the messages; `prefix` goes before every key ("llama.").
  ForeignConfig(const nlohmann::json& json, std::string family,
                std::string prefix = "")
      : json_(json), family_(std::move(family)), prefix_(std::move(prefix)) {}

  bool Has(const std::string& key);  // present and not null
  // Required: fails when absent or of another type, or out of [low, high].
  int Int(const std::string& key, int low = 1, int high = 1 << 24);
  int IntOr(const std::string& key, int fallback, int low = 0,
            int high = 1 << 30);
  double NumberOr(const std::string& key, double fallback);
  bool BoolOr(const std::string& key, bool fallback);
  std::string StringOr(const std::string& key, const std::string& fallback);
  nlohmann::json ObjectOr(const std::string& key);  // {} when absent
  std::vector<int> IdsOr(const std::string& key);   // a number or a list

  // A field whose value cannot be honoured yet must have `value` (or be
  // absent).
  template <typename T>
  void Expect(const std::string& key, const T& value) {
    if (!Has(key)) return;
    if (Json(key) != nlohmann::json(value)) {
      Fail(StatusCode::kUnsupported,
           "\"" + prefix_ + key + "\": " + Json(key).dump() +
               " is not supported (only " + nlohmann::json(value).dump() + ")");
    }
  }
  // Read but known to change nothing here.
  void Ignore(std::initializer_list<const char*> keys);
  void Fail(StatusCode code, const std::string& what);

  const Status& status() const { return status_; }
  // A line for each key that nobody read.
  std::vector<std::string> Unread() const;

 private:
  const nlohmann::json& Json(const std::string& key);

  const nlohmann::json& json_;
  std::string family_, prefix_;
  std::set<std::string> read_;
  Status status_;
};

}  // namespace intarsia
