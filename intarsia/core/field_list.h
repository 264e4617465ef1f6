// The fields of a configuration as a table: what `intarsia list` shows.
#pragma once

#include <string>
#include <vector>

#include "intarsia/core/fields.h"

namespace intarsia {

struct FieldInfo {
  std::string name;      // with those of the objects that hold it: "rope.theta"
  std::string type;      // "whole number", "number", "true or false" ...
  std::string allowed;   // "1 to 4096", "silu, gelu ..."; empty: any
  std::string fallback;  // the default as JSON, or in words
  std::string when;      // empty: always; else where it exists
  bool required = false;
};

// `visit` declares the fields of a fresh configuration; it leaves values of no
// meaning in it.
std::vector<FieldInfo> ListFields(const Fields::Visitor& visit);

}  // namespace intarsia
