// Reads the fields of one JSON object, which is untrusted, with checked types
// and messages that name the field:
//
//   [attention] "rope.theta" must be a finite number, got "1e4"
//
// The first fault is kept. Readers of later fields go on and return something
// in their range (a whole number: the low end; the others: the fallback), so
// that a parser reads everything and asks once:
//
//   JsonReader reader(json, "attention");
//   config.heads = reader.Int("heads", 1, 1 << 16);
//   config.window = reader.IntOr("window", 0, 1, 1 << 30);
//   RETURN_IF_ERROR(reader.Finish());
//
// A field whose value is null counts as absent.
#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

// Where the object stands.
struct JsonPlace {
  std::string path = "";        // inside the room's configuration: "rope"
  std::string key_prefix = "";  // before every key of the object: "llama."
};

class JsonReader {
 public:
  // `room` starts every message. The JSON must outlive the reader.
  JsonReader(const nlohmann::json& json, std::string room,
             JsonPlace place = {});

  // The field, or null where it is absent. As all below, marks it as read.
  const nlohmann::json* Find(const std::string& name);

  // Fields that must be there; whole numbers in [low, high].
  int Int(const std::string& name, int low = 1, int high = 1 << 24);
  std::string String(const std::string& name);
  // A list of at least one entry; null where it is at fault.
  const nlohmann::json* List(const std::string& name);

  // Fields that may be absent; the fallback need not be in the range.
  int IntOr(const std::string& name, int fallback, int low = 0,
            int high = 1 << 30);
  double NumberOr(const std::string& name, double fallback);  // finite
  bool BoolOr(const std::string& name, bool fallback);
  std::string StringOr(const std::string& name, const std::string& fallback);
  nlohmann::json ObjectOr(const std::string& name);  // {} when absent
  // A token id or a list of them, each at least -1 (none); {} when absent.
  std::vector<int> Ids(const std::string& name);

  // A field whose other values are not supported: absent or equal to `value`.
  void Expect(const std::string& name, const nlohmann::json& value);
  // Fields that change nothing here.
  void Ignore(std::initializer_list<const char*> names);

  // The value of a parser's result, or keeps its error.
  template <typename T>
  T Take(Result<T> result, T fallback) {
    if (result.ok()) return std::move(result).value();
    Keep(result.status());
    return fallback;
  }

  // Rules that span fields; messages without the room's name.
  void Require(bool condition, const std::string& message,
               StatusCode code = StatusCode::kInvalidArgument);
  // A rule for one field: "<name> must be <wanted>, got ...".
  void RequireField(bool condition, const std::string& name,
                    const std::string& wanted);

  const Status& status() const { return status_; }
  // As status(), and refuses a field that nobody read: a misspelt option must
  // not pass for its default.
  Status Finish();
  // For configurations of others, where that need not be an error: such
  // fields, without the key prefix.
  std::vector<std::string> Unread() const;

 private:
  int Whole(const nlohmann::json& field, const std::string& name, int low,
            int high);
  std::string Quoted(const std::string& name) const;
  std::vector<std::string> UnreadNames() const;
  void Fail(const std::string& message) { Require(false, message); }
  void Keep(Status status);

  const nlohmann::json& json_;
  const std::string room_;
  const JsonPlace place_;
  std::set<std::string> read_;  // without the key prefix
  Status status_;
};

}  // namespace intarsia
