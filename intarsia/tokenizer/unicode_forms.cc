#include "intarsia/tokenizer/unicode_forms.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <unordered_map>

#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

struct Pair {
  char32_t code, first, second;
  bool composes;
};
constexpr Pair kPairs[] = {
#include "intarsia/tokenizer/unicode_pairs.inc"
};

struct Single {
  char32_t code, other;
};
constexpr Single kSingles[] = {
#define INTARSIA_UNICODE_SINGLES
#include "intarsia/tokenizer/unicode_marks.inc"
#undef INTARSIA_UNICODE_SINGLES
};

struct Marks {
  char32_t first, last;
  unsigned char combining_class;
};
constexpr Marks kMarks[] = {
#include "intarsia/tokenizer/unicode_marks.inc"
};

struct Mapping {
  char32_t code;
  const char* text;  // UTF-8
};
constexpr Mapping kCompatible[] = {
#include "intarsia/tokenizer/unicode_compatible.inc"
};
constexpr Mapping kLower[] = {
#include "intarsia/tokenizer/unicode_lower.inc"
};

// Hangul syllables are computed: L and V, or LV and T.
constexpr char32_t kSyllable = 0xAC00, kLead = 0x1100, kVowel = 0x1161,
                   kTail = 0x11A7;
constexpr char32_t kVowels = 21, kTails = 28, kSyllables = 11172;

template <typename Entry, size_t N>
const Entry* FindCode(const Entry (&table)[N], char32_t code) {
  const Entry* it = std::lower_bound(
      std::begin(table), std::end(table), code,
      [](const Entry& entry, char32_t c) { return entry.code < c; });
  return it != std::end(table) && it->code == code ? it : nullptr;
}

int CombiningClass(char32_t code) {
  if (code < kMarks[0].first) return 0;
  const Marks* it = std::lower_bound(
      std::begin(kMarks), std::end(kMarks), code,
      [](const Marks& marks, char32_t c) { return marks.last < c; });
  return it != std::end(kMarks) && it->first <= code ? it->combining_class : 0;
}

void Decompose(char32_t code, bool compatible, std::u32string* out) {
  if (code >= kSyllable && code < kSyllable + kSyllables) {
    const char32_t index = code - kSyllable;
    out->push_back(kLead + index / (kVowels * kTails));
    out->push_back(kVowel + index / kTails % kVowels);
    if (index % kTails != 0) out->push_back(kTail + index % kTails);
  } else if (const Pair* pair = FindCode(kPairs, code)) {
    Decompose(pair->first, compatible, out);
    Decompose(pair->second, compatible, out);
  } else if (const Single* single = FindCode(kSingles, code)) {
    Decompose(single->other, compatible, out);
  } else if (const Mapping* mapping =
                 compatible ? FindCode(kCompatible, code) : nullptr) {
    for (std::string_view rest = mapping->text; !rest.empty();) {
      const Utf8Step step = NextUtf8(rest);
      rest.remove_prefix(step.length);
      Decompose(step.code, compatible, out);
    }
  } else {
    out->push_back(code);
  }
}

uint64_t Key(char32_t first, char32_t second) {
  return static_cast<uint64_t>(first) << 32 | second;
}

// The character that the two compose to, or 0.
char32_t Compose(char32_t first, char32_t second) {
  if (first >= kLead && first < kLead + 19 && second >= kVowel &&
      second < kVowel + kVowels) {
    return kSyllable + ((first - kLead) * kVowels + (second - kVowel)) * kTails;
  }
  if (first >= kSyllable && first < kSyllable + kSyllables &&
      (first - kSyllable) % kTails == 0 && second > kTail &&
      second < kTail + kTails) {
    return first + (second - kTail);
  }
  static const auto* const composed = [] {
    auto* map = new std::unordered_map<uint64_t, char32_t>;
    for (const Pair& pair : kPairs) {
      if (pair.composes) map->emplace(Key(pair.first, pair.second), pair.code);
    }
    return map;
  }();
  const auto it = composed->find(Key(first, second));
  return it == composed->end() ? 0 : it->second;
}

// Joins what composes: a mark joins the last starter unless one of its class
// or above, or another starter, stands between.
std::u32string ComposeAll(const std::u32string& codes) {
  std::u32string out;
  size_t starter = std::u32string::npos;
  int last_class = -1;  // of what follows the starter; -1: nothing does
  for (const char32_t code : codes) {
    const int own = CombiningClass(code);
    if (starter != std::u32string::npos && last_class < own) {
      if (const char32_t joined = Compose(out[starter], code)) {
        out[starter] = joined;
        continue;
      }
    }
    if (own == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = own;
    }
    out.push_back(code);
  }
  return out;
}

}  // namespace

std::string NormalizeUnicode(std::string_view text, UnicodeForm form) {
  const bool compatible =
      form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  // Below this every character is its own normal form.
  const char32_t plain_end = compatible ? 0xA0 : compose ? 0x300 : 0xC0;
  std::u32string codes;
  bool plain = true;
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Step step = NextUtf8(rest);
    rest.remove_prefix(step.length);
    plain = plain && step.code < plain_end;
    if (step.code < 0x80) {
      codes.push_back(step.code);
    } else {
      Decompose(step.code, compatible, &codes);
    }
  }
  if (plain) return std::string(text);

  // Runs of marks, in order of their class.
  const auto mark = [](char32_t c) { return CombiningClass(c) != 0; };
  for (auto begin = codes.begin(); begin != codes.end();) {
    begin = std::find_if(begin, codes.end(), mark);
    const auto end = std::find_if_not(begin, codes.end(), mark);
    std::stable_sort(begin, end, [](char32_t a, char32_t b) {
      return CombiningClass(a) < CombiningClass(b);
    });
    begin = end;
  }
  if (compose) codes = ComposeAll(codes);
  std::string result;
  for (const char32_t code : codes) AppendUtf8(code, &result);
  return result;
}

std::string LowerCase(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    if (step.code < 0x80) {
      const bool upper = step.code >= 'A' && step.code <= 'Z';
      result.push_back(static_cast<char>(step.code + (upper ? 32 : 0)));
    } else if (const Mapping* mapping = FindCode(kLower, step.code)) {
      result += mapping->text;
    } else {
      result.append(text.substr(0, step.length));
    }
    text.remove_prefix(step.length);
  }
  return result;
}

}  // namespace intarsia
