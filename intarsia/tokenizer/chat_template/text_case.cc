// Upper, lower and title case, digits and names, as Python's strings see them.
#include <locale.h>
#include <wctype.h>

#include <algorithm>
#include <iterator>

#include "intarsia/tokenizer/chat_template/text.h"
#include "intarsia/tokenizer/regex.h"

namespace intarsia::chat_template {
namespace {

struct Mapping {
  char32_t from;
  const char32_t* to;
};
struct Range {
  char32_t first, last;
};

constexpr Mapping kUpper[] = {
#define INTARSIA_UPPER
#include "intarsia/tokenizer/chat_template/text_cases.inc"
#undef INTARSIA_UPPER
};
constexpr Mapping kTitle[] = {
#define INTARSIA_TITLE
#include "intarsia/tokenizer/chat_template/text_cases.inc"
#undef INTARSIA_TITLE
};
constexpr Mapping kFold[] = {
#define INTARSIA_FOLD
#include "intarsia/tokenizer/chat_template/text_cases.inc"
#undef INTARSIA_FOLD
};
constexpr Range kDigit[] = {
#define INTARSIA_DIGIT
#include "intarsia/tokenizer/chat_template/text_cases.inc"
#undef INTARSIA_DIGIT
};
constexpr Range kDecimalRows[] = {
#define INTARSIA_DECIMAL
#include "intarsia/tokenizer/chat_template/text_cases.inc"
#undef INTARSIA_DECIMAL
};
constexpr Range kNumber[] = {
#define INTARSIA_NUMBER
#include "intarsia/tokenizer/chat_template/text_cases.inc"
#undef INTARSIA_NUMBER
};

template <size_t N>
const char32_t* Find(const Mapping (&table)[N], char32_t c) {
  const auto* it = std::lower_bound(
      std::begin(table), std::end(table), c,
      [](const Mapping& m, char32_t code) { return m.from < code; });
  return it != std::end(table) && it->from == c ? it->to : nullptr;
}

template <size_t N>
bool Within(const Range (&table)[N], char32_t c) {
  const auto* it = std::lower_bound(
      std::begin(table), std::end(table), c,
      [](const Range& r, char32_t code) { return r.last < code; });
  return it != std::end(table) && it->first <= c;
}

// glibc's own Unicode tables, whatever the user's locale.
locale_t UnicodeLocale() {
  static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return locale;
}

char32_t SimpleUpper(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
  const locale_t locale = UnicodeLocale();
  return locale == nullptr ? c : towupper_l(static_cast<wint_t>(c), locale);
}

char32_t SimpleLower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  const locale_t locale = UnicodeLocale();
  return locale == nullptr ? c : towlower_l(static_cast<wint_t>(c), locale);
}

// Whether a class of PCRE2 holds the character.
class Property {
 public:
  explicit Property(const char* members)
      : regex_(Regex::Compile(members).value()) {}
  bool Has(char32_t c) const {
    std::string text;
    AppendUtf8(c, &text);
    size_t begin = 0, end = 0;
    MatchBudget budget(text.size());
    return Regex::Matcher(regex_, &budget).Find(text, 0, &begin, &end);
  }

 private:
  Regex regex_;
};

bool IsCased(char32_t c) {
  static const Property cased("\\p{Cased}");
  return c < 0x80 ? IsAlphabetic(c) : cased.Has(c);
}

bool IsIgnorable(char32_t c) {
  static const Property ignorable("\\p{Case_Ignorable}");
  return ignorable.Has(c);
}

// A sigma at the end of a word is another letter: after a cased character,
// before none, whatever has no case left out.
bool IsFinal(const std::u32string& all, size_t at) {
  size_t before = at;
  while (before > 0 && IsIgnorable(all[before - 1])) --before;
  if (before == 0 || !IsCased(all[before - 1])) return false;
  size_t after = at + 1;
  while (after < all.size() && IsIgnorable(all[after])) ++after;
  return after == all.size() || !IsCased(all[after]);
}

void AppendLower(const std::u32string& all, size_t at, std::u32string* out) {
  constexpr char32_t kSigma = 0x3A3, kFinalSigma = 0x3C2;
  if (all[at] == 0x130) {
    *out += U"i\u0307";
  } else if (all[at] == kSigma && IsFinal(all, at)) {
    *out += kFinalSigma;
  } else {
    *out += SimpleLower(all[at]);
  }
}

void AppendUpper(char32_t c, std::u32string* out) {
  const char32_t* several = c < 0x80 ? nullptr : Find(kUpper, c);
  if (several != nullptr) {
    *out += several;
  } else {
    *out += SimpleUpper(c);
  }
}

void AppendTitle(char32_t c, std::u32string* out) {
  const char32_t* own = c < 0x80 ? nullptr : Find(kTitle, c);
  if (own != nullptr) {
    *out += own;
  } else {
    AppendUpper(c, out);
  }
}

}  // namespace

bool IsDecimal(char32_t c) {
  static const Property decimal("\\p{Nd}");
  return c < 0x80 ? c >= '0' && c <= '9' : decimal.Has(c);
}

// Decimal digits come in rows of ten, from zero on.
int DecimalValue(char32_t c) {
  if (c < 0x80) return static_cast<int>(c - '0');
  int value = 0;
  for (const Range& row : kDecimalRows) {
    if (c >= row.first && c <= row.last) {
      value = static_cast<int>((c - row.first) % 10);
    }
  }
  return value;
}

bool IsDigit(char32_t c) { return IsDecimal(c) || Within(kDigit, c); }

bool IsNumeric(char32_t c) {
  static const Property number("\\p{N}");
  return c < 0x80 ? IsDecimal(c) : number.Has(c) || Within(kNumber, c);
}

bool IsAlphanumeric(char32_t c) { return IsAlphabetic(c) || IsNumeric(c); }

bool IsLower(char32_t c) {
  static const Property lower("\\p{Lowercase}");
  return c < 0x80 ? c >= 'a' && c <= 'z' : lower.Has(c);
}

bool IsUpper(char32_t c) {
  static const Property upper("\\p{Uppercase}");
  return c < 0x80 ? c >= 'A' && c <= 'Z' : upper.Has(c);
}

bool IsTitle(char32_t c) {
  static const Property title("\\p{Lt}");
  return c >= 0x80 && title.Has(c);
}

bool IsNameStart(char32_t c) {
  static const Property start("[\\p{XIDS}_]");
  return c < 0x80 ? IsAlphabetic(c) || c == '_' : start.Has(c);
}

bool IsNamePart(char32_t c) {
  static const Property part("\\p{XIDC}");
  return c < 0x80 ? IsNameStart(c) || IsDecimal(c) : part.Has(c);
}

std::string Upper(std::string_view text) {
  std::u32string out;
  for (const char32_t c : Characters(text)) AppendUpper(c, &out);
  return FromCharacters(out);
}

std::string Lower(std::string_view text) {
  const std::u32string all = Characters(text);
  std::u32string out;
  for (size_t i = 0; i < all.size(); ++i) AppendLower(all, i, &out);
  return FromCharacters(out);
}

std::string Fold(std::string_view text) {
  std::u32string out;
  for (const char32_t c : Characters(text)) {
    const char32_t* own = c < 0x80 ? nullptr : Find(kFold, c);
    if (own != nullptr) {
      out += own;
    } else {
      AppendLower({c}, 0, &out);
    }
  }
  return FromCharacters(out);
}

std::string Title(std::string_view text) {
  const std::u32string all = Characters(text);
  std::u32string out;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0 && IsCased(all[i - 1])) {
      AppendLower(all, i, &out);
    } else {
      AppendTitle(all[i], &out);
    }
  }
  return FromCharacters(out);
}

std::string SwapCase(std::string_view text) {
  const std::u32string all = Characters(text);
  std::u32string out;
  for (size_t i = 0; i < all.size(); ++i) {
    if (IsUpper(all[i])) {
      AppendLower(all, i, &out);
    } else if (IsLower(all[i])) {
      AppendUpper(all[i], &out);
    } else {
      out += all[i];
    }
  }
  return FromCharacters(out);
}

std::string Capitalize(std::string_view text) {
  const std::u32string all = Characters(text);
  std::u32string out;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i == 0) {
      AppendTitle(all[i], &out);
    } else {
      AppendLower(all, i, &out);
    }
  }
  return FromCharacters(out);
}

}  // namespace intarsia::chat_template
