// Properties of characters, as PCRE2's Unicode tables have them.
#pragma once

#include <cstddef>
#include <string_view>

namespace intarsia {

// \w of Rust's regular expressions, as members of a class: letters and what is
// like them, marks, digits, connectors, joiners.
inline constexpr const char* kRustWord =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";

bool IsWhiteSpace(char32_t code);     // property White_Space
bool IsWordCharacter(char32_t code);  // one of kRustWord

// Bytes of white space at the start and at the end of valid UTF-8.
size_t LeadingSpace(std::string_view text);
size_t TrailingSpace(std::string_view text);

}  // namespace intarsia
