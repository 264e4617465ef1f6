#include "intarsia/tokenizer/json_fields.h"

#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

using Json = nlohmann::json;

Status WrongType(const std::string& where, const char* wanted,
                 const Json* found) {
  return InvalidArgument(where + ": must be " + wanted + ", is " +
                         (found != nullptr ? found->type_name() : "missing"));
}

const Json* Lookup(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

}  // namespace

Status CheckObject(const Json& value, const std::string& where) {
  if (!value.is_object()) return WrongType(where, "an object", &value);
  return Status::Ok();
}

Result<std::string> StringField(const Json& object, const char* name,
                                const std::string& where) {
  const Json* field = Lookup(object, name);
  if (field == nullptr || !field->is_string()) {
    return WrongType(where + "." + name, "a string", field);
  }
  return field->get<std::string>();
}

Result<const Json*> ArrayField(const Json& object, const char* name,
                               const std::string& where) {
  const Json* field = Lookup(object, name);
  if (field == nullptr || !field->is_array()) {
    return WrongType(where + "." + name, "an array", field);
  }
  return field;
}

Result<bool> BoolField(const Json& object, const char* name, bool fallback,
                       const std::string& where) {
  const Json* field = Lookup(object, name);
  if (field == nullptr || field->is_null()) return fallback;
  if (!field->is_boolean()) {
    return WrongType(where + "." + name, "true or false", field);
  }
  return field->get<bool>();
}

Result<int32_t> TokenId(const Json& value, int64_t limit,
                        const std::string& where) {
  if (!value.is_number_integer()) {
    return WrongType(where, "a whole number", &value);
  }
  const bool too_big = value.is_number_unsigned() &&
                       value.get<uint64_t>() >= static_cast<uint64_t>(limit);
  if (too_big || value.get<int64_t>() < 0) {
    return InvalidArgument(where + ": token id " + value.dump() +
                           " is outside 0.." + std::to_string(limit - 1));
  }
  return static_cast<int32_t>(value.get<int64_t>());
}

Result<std::optional<std::string>> TokenText(const Json& object,
                                             const char* name,
                                             const std::string& where) {
  const Json* field = Lookup(object, name);
  if (field == nullptr || field->is_null()) return std::optional<std::string>();
  if (field->is_string()) {
    return std::optional<std::string>(field->get<std::string>());
  }
  ASSIGN_OR_RETURN(std::string content,
                   StringField(*field, "content", where + "." + name));
  return std::optional<std::string>(std::move(content));
}

}  // namespace intarsia
