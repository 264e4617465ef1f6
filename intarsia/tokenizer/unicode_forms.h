// Unicode's normalization forms: canonical (or compatible) decomposition, marks
// in canonical order, and for C and KC composition. Source: UAX #15. Lower case
// is that of single characters (SpecialCasing's conditions are left out, as in
// Rust's and Python's mapping of one character).
#pragma once

#include <string>
#include <string_view>

namespace intarsia {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// `text` must be valid UTF-8.
std::string NormalizeUnicode(std::string_view text, UnicodeForm form);
std::string LowerCase(std::string_view text);

inline std::string NormalizeNfc(std::string_view text) {
  return NormalizeUnicode(text, UnicodeForm::kNfc);
}

}  // namespace intarsia
