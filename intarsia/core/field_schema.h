// The fields of a configuration as JSON Schema (draft 2020-12): what editors
// and `intarsia list` show.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "intarsia/core/fields.h"

namespace intarsia {

// `visit` declares the fields of a fresh configuration; it leaves values of no
// meaning in it. A default that others decide is "x-default", in words; a field
// that not every configuration has is in none of the required ones and says in
// "x-when" where it is. Where a field holds the configuration of a primitive,
// its object refers to "#/$defs/" and the name of the field that names it.
nlohmann::json FieldSchema(const Fields::Visitor& visit);

}  // namespace intarsia
