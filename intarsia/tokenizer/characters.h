// Properties of characters, as PCRE2's Unicode tables have them.
#pragma once

namespace intarsia {

bool IsWhiteSpace(char32_t code);     // property White_Space
bool IsWordCharacter(char32_t code);  // letters, marks, numbers, connectors

}  // namespace intarsia
