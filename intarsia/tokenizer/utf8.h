// UTF-8, decoded strictly (Unicode 15, table 3-7): no overlong forms, no
// surrogates, nothing above U+10FFFF. Malformed bytes are replaced as Python's
// errors="replace" does it: one U+FFFD for each maximal subpart.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace intarsia {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

// The first character of `text`, which must not be empty.
struct Utf8Step {
  char32_t code = kReplacementCharacter;
  size_t length = 1;        // bytes to consume, at least 1
  bool valid = false;       // false: `length` bytes are one maximal subpart
  bool incomplete = false;  // malformed only because the text ends here
};
Utf8Step NextUtf8(std::string_view text);

// The first byte of the last character of `text` (not empty, valid UTF-8).
size_t LastUtf8Start(std::string_view text);

bool IsValidUtf8(std::string_view text);

void AppendUtf8(char32_t code, std::string* out);

// `text` with every malformed subpart replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view text);

// Appends the complete characters of `bytes` to `out`, malformed ones
// replaced, and removes them; what stays (at most 3 bytes) may yet become a
// character.
void DrainUtf8(std::string* bytes, std::string* out);

}  // namespace intarsia
