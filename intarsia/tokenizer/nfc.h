// Unicode's Normalization Form C: canonical decomposition, marks in canonical
// order, composition. Source: UAX #15.
#pragma once

#include <string>
#include <string_view>

namespace intarsia {

// `text` must be valid UTF-8.
std::string NormalizeNfc(std::string_view text);

}  // namespace intarsia
