// Configurations that declare their fields (core/fields.h), from JSON and back.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "intarsia/core/fields.h"

namespace intarsia {

// Reads an object, which is untrusted. Messages are those of JsonReader: they
// start with "[room]" and name the field, with `path` before it. A field that
// `visit` does not declare is refused. `changed`, if there is one, gets the
// fields of the object that must be there or that change something.
Status ReadFields(const nlohmann::json& json, const std::string& room,
                  const Fields::Visitor& visit, const std::string& path = "",
                  nlohmann::json* changed = nullptr);
// All fields that have a value.
nlohmann::json WriteFields(const Fields::Visitor& visit);

// The configuration that starts as `config` says.
template <typename T>
Result<T> ParseFields(const nlohmann::json& json, const std::string& room,
                      T config = T()) {
  RETURN_IF_ERROR(ReadFields(json, room, [&](Fields& f) { config.Visit(f); }));
  return config;
}

// The shortest object that `fresh`, the visitor of a new configuration, reads
// as `config`, which is valid.
nlohmann::json WriteChanged(const Fields::Visitor& config,
                            const Fields::Visitor& fresh);

}  // namespace intarsia
