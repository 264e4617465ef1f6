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
bool IsPrintable(char32_t c);   // str.isprintable

// text_case.cc. Of one character:
bool IsDecimal(char32_t c);    // str.isdecimal
int DecimalValue(char32_t c);  // of such a one: 0 to 9
bool IsDigit(char32_t c);      // str.isdigit
bool IsNumeric(char32_t c);    // str.isnumeric
bool IsAlphanumeric(char32_t c);
bool IsLower(char32_t c);      // what str.islower asks of its characters
bool IsUpper(char32_t c);      // and str.isupper
bool IsTitle(char32_t c);      // of a case of its own, as in U+01C5
bool IsNameStart(char32_t c);  // of an identifier of Python's
bool IsNamePart(char32_t c);

// Of strings, with the letters whose other case is several characters and the
// two small sigmas.
std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string Fold(std::string_view text);        // str.casefold
std::string Title(std::string_view text);       // str.title
std::string SwapCase(std::string_view text);    // str.swapcase
std::string Capitalize(std::string_view text);  // str.capitalize

// & < > ' " as HTML writes them.
std::string EscapeHtml(std::string_view text);

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
