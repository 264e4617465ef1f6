// Rotary positions as published configurations and GGUF files describe them.
#pragma once

#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"

namespace intarsia {

// The rope object of an attention configuration, from "rope_parameters" or the
// older "rope_theta" and "rope_scaling".
nlohmann::json RopeFromConfig(JsonReader* reader);

// The same from GGUF's "rope." keys. `interleaved`: the file keeps the rows of
// queries and keys paired.
nlohmann::json RopeFromGguf(JsonReader* reader, int head_dim, bool interleaved);

}  // namespace intarsia
