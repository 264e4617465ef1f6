// The byte alphabet of GPT-2's vocabularies: each byte is written as one
// printable character, so that a token of arbitrary bytes is a readable string
// ("Ġthe" is " the"). Bytes that are printable in Latin-1 stand for themselves;
// the other 68 take U+0100, U+0101, … in order. Source: Radford et al. 2019.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace intarsia {

// The character that stands for `byte`.
char32_t ByteLevelCharacter(unsigned char byte);

// `bytes` in the alphabet, as UTF-8.
std::string ByteLevelEncode(std::string_view bytes);

// The bytes of a token; empty if a character is outside the alphabet.
std::optional<std::string> ByteLevelDecode(std::string_view token);

}  // namespace intarsia
