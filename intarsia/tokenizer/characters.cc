#include "intarsia/tokenizer/characters.h"

#include <string>

#include "intarsia/tokenizer/regex.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {

bool IsWhiteSpace(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool IsWordCharacter(char32_t code) {
  static const Regex word =
      Regex::Compile(std::string("[") + kRustWord + "]").value();
  std::string text;
  AppendUtf8(code, &text);
  size_t begin = 0, end = 0;
  MatchBudget budget(text.size());
  return Regex::Matcher(word, &budget).Find(text, 0, &begin, &end);
}

size_t TrailingSpace(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t start = LastUtf8Start(text.substr(0, end));
    if (!IsWhiteSpace(NextUtf8(text.substr(start)).code)) break;
    end = start;
  }
  return text.size() - end;
}

size_t LeadingSpace(std::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    const Utf8Step step = NextUtf8(text.substr(end));
    if (!IsWhiteSpace(step.code)) break;
    end += step.length;
  }
  return end;
}

}  // namespace intarsia
