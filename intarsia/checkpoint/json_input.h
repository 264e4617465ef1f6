// JSON from untrusted files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "intarsia/core/status.h"

namespace intarsia {

struct JsonLimits {
  int depth = 64;  // nesting of objects and arrays
  // Python writes Infinity, -Infinity and NaN, which JSON does not have, and
  // transformers 5 writes {"__float__": "Infinity"}: both become numbers.
  bool non_finite = false;
};

// Parses `text`, refusing what is not JSON, nests too deeply or gives a key
// twice. Messages begin with `where`: "[safetensors] a.safetensors: header".
Result<nlohmann::json> ParseJson(std::string_view text,
                                 const std::string& where,
                                 JsonLimits limits = {});

// Maps and parses a file of at most `max_bytes`.
Result<nlohmann::json> ReadJsonFile(const std::string& path,
                                    const std::string& room, size_t max_bytes,
                                    JsonLimits limits = {});

}  // namespace intarsia
