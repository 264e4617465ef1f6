// Typed access to the fields of untrusted JSON. Every error names the field
// and what it should have been; `where` is the path of the object.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "intarsia/core/status.h"

namespace intarsia {

Status CheckObject(const nlohmann::json& value, const std::string& where);

// The field, which must be there.
Result<std::string> StringField(const nlohmann::json& object, const char* name,
                                const std::string& where);
Result<const nlohmann::json*> ArrayField(const nlohmann::json& object,
                                         const char* name,
                                         const std::string& where);

// The field, or `fallback` where it is missing or null.
Result<bool> BoolField(const nlohmann::json& object, const char* name,
                       bool fallback, const std::string& where);

// A token id: a whole number in [0, limit).
Result<int32_t> TokenId(const nlohmann::json& value, int64_t limit,
                        const std::string& where);

// The text of a special token as tokenizer_config.json writes it: a string, or
// an object with "content"; empty where it is missing or null.
Result<std::optional<std::string>> TokenText(const nlohmann::json& object,
                                             const char* name,
                                             const std::string& where);

}  // namespace intarsia
