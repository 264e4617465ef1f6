// JSON from untrusted files, read in time linear in the text.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

struct JsonLimits {
  int depth = 64;  // nesting of objects and arrays
  // Python writes Infinity, -Infinity and NaN, which JSON does not have, and
  // transformers 5 writes {"__float__": "Infinity"}: both become numbers.
  bool non_finite = false;
  // A key that an object gives twice counts as its last value, as in Python.
  bool repeats = false;
  // Those keys, each once. May be null.
  std::set<std::string>* repeated = nullptr;
  // Objects, arrays, strings and numbers that become a tree. Each takes up to
  // 100 bytes and its text, so that the tree of a small file can be large.
  size_t values = size_t{1} << 20;
};

// An object or array inside a document that is not to become a tree: it is
// checked, `text` becomes its text, and the tree has null in its place.
struct JsonPart {
  std::vector<std::string> path;  // keys from the root: {"model", "vocab"}
  std::string_view text = {};     // empty: there is no object or array
};

// Parses `text`, refusing what is not JSON, nests too deeply, holds too many
// values or gives a key twice (but see repeats). Messages begin with `where`,
// "[safetensors] a.safetensors: header", and name the byte.
Result<nlohmann::json> ParseJson(std::string_view text,
                                 const std::string& where,
                                 JsonLimits limits = {},
                                 std::span<JsonPart> parts = {});

// Calls `visit` with every member of one object (its key) or array (""), in the
// order of the text, and keeps none. limits.values bounds each of them. Stops
// at the first error of `visit`, which it returns. The keys are the caller's to
// compare: an object here may give one twice. A member that is one of `parts`
// is visited as null.
using JsonVisit =
    std::function<Status(std::string* key, nlohmann::json* value)>;
Status VisitJson(std::string_view text, const std::string& where,
                 JsonLimits limits, const JsonVisit& visit,
                 std::span<JsonPart> parts = {});

// Maps and parses a file of at most `max_bytes`.
Result<nlohmann::json> ReadJsonFile(const std::string& path,
                                    const std::string& room, size_t max_bytes,
                                    JsonLimits limits = {});

}  // namespace intarsia
