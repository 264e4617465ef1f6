// Python's view of strings: sequences of characters. All text is valid UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/tokenizer/characters.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia::chat_template {

std::u32string Characters(std::string_view text);
std::string FromCharacters(std::u32string_view characters);
size_t CharacterCount(std::string_view text);

bool IsSpace(char32_t c);       // str.isspace
bool IsAlphabetic(char32_t c);  // str.isalpha
bool IsDigit(char32_t c);       // str.isdigit, but for superscripts
bool IsPrintable(char32_t c);   // str.isprintable
char32_t ToUpperCharacter(char32_t c);
char32_t ToLowerCharacter(char32_t c);

std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string Capitalize(std::string_view text);

// Without what is in `characters` (white space if null) at the sides.
std::string Strip(std::string_view text, const std::string* characters,
                  bool left, bool right);
std::vector<std::string> SplitLines(std::string_view text, bool keep_ends);
// str.split and str.rsplit; an empty separator means runs of white space, a
// negative limit means none.
std::vector<std::string> Split(std::string_view text,
                               std::string_view separator, int64_t limit);
std::vector<std::string> SplitRight(std::string_view text,
                                    std::string_view separator, int64_t limit);

}  // namespace intarsia::chat_template
