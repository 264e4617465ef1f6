#include "intarsia/families/foreign_config.h"

namespace intarsia {

const nlohmann::json& ForeignConfig::Json(const std::string& key) {
  static const nlohmann::json* null = new nlohmann::json();
  read_.insert(prefix_ + key);
  auto it = json_.find(prefix_ + key);
  return it == json_.end() ? *null : *it;
}

bool ForeignConfig::Has(const std::string& key) { return !Json(key).is_null(); }

void ForeignConfig::Fail(StatusCode code, const std::string& what) {
  if (status_.ok()) status_ = Status(code, "[" + family_ + "] " + what);
}

int ForeignConfig::Int(const std::string& key, int low, int high) {
  if (!Has(key)) {
    Fail(StatusCode::kInvalidArgument,
         "the configuration lacks \"" + prefix_ + key + "\"");
    return low;
  }
  return IntOr(key, low, low, high);
}

int ForeignConfig::IntOr(const std::string& key, int fallback, int low,
                         int high) {
  if (!Has(key)) return fallback;
  const nlohmann::json& value = Json(key);
  if (!value.is_number_integer() || value.get<int64_t>() < low ||
      value.get<int64_t>() > high) {
    Fail(StatusCode::kInvalidArgument,
         "\"" + prefix_ + key + "\" must be an integer from " +
             std::to_string(low) + " to " + std::to_string(high));
    return low;
  }
  return value.get<int>();
}

double ForeignConfig::NumberOr(const std::string& key, double fallback) {
  if (!Has(key)) return fallback;
  if (!Json(key).is_number()) {
    Fail(StatusCode::kInvalidArgument,
         "\"" + prefix_ + key + "\" must be a number");
    return fallback;
  }
  return Json(key).get<double>();
}

bool ForeignConfig::BoolOr(const std::string& key, bool fallback) {
  if (!Has(key)) return fallback;
  if (!Json(key).is_boolean()) {
    Fail(StatusCode::kInvalidArgument,
         "\"" + prefix_ + key + "\" must be true or false");
    return fallback;
  }
  return Json(key).get<bool>();
}

std::string ForeignConfig::StringOr(const std::string& key,
                                    const std::string& fallback) {
  if (!Has(key)) return fallback;
  if (!Json(key).is_string()) {
    Fail(StatusCode::kInvalidArgument,
         "\"" + prefix_ + key + "\" must be a string");
    return fallback;
  }
  return Json(key).get<std::string>();
}

nlohmann::json ForeignConfig::ObjectOr(const std::string& key) {
  if (!Has(key)) return nlohmann::json::object();
  if (!Json(key).is_object()) {
    Fail(StatusCode::kInvalidArgument,
         "\"" + prefix_ + key + "\" must be an object");
    return nlohmann::json::object();
  }
  return Json(key);
}

std::vector<int> ForeignConfig::IdsOr(const std::string& key) {
  std::vector<int> ids;
  if (!Has(key)) return ids;
  const nlohmann::json& value = Json(key);
  for (const nlohmann::json& id :
       value.is_array() ? value : nlohmann::json::array({value})) {
    if (!id.is_number_integer()) {
      Fail(StatusCode::kInvalidArgument,
           "\"" + prefix_ + key + "\" must be an id or a list of ids");
      return {};
    }
    ids.push_back(id.get<int>());
  }
  return ids;
}

void ForeignConfig::Ignore(std::initializer_list<const char*> keys) {
  for (const char* key : keys) read_.insert(prefix_ + key);
}

std::vector<std::string> ForeignConfig::Unread() const {
  std::vector<std::string> lines;
  for (const auto& [key, value] : json_.items()) {
    if (!key.starts_with(prefix_) || read_.contains(key) || value.is_null()) {
      continue;
    }
    lines.push_back("\"" + key + "\" is not used");
  }
  return lines;
}

}  // namespace intarsia
