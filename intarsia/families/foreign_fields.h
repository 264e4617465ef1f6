// Which fields of a foreign configuration a refusal of our own speaks of.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "intarsia/core/status.h"

namespace intarsia {

// A mixer names its own fields ("heads", "rope.scaling.type"). Adds the fields
// of `config`, Hugging Face's or GGUF's, that those were made from.
Status NameForeignFields(const Status& status, const nlohmann::json& config);

}  // namespace intarsia
