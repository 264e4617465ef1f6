#include "intarsia/tokenizer/normalizer.h"

#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/byte_level.h"
#include "intarsia/tokenizer/characters.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

bool VanishesInNmt(char32_t c) {
  return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) ||
         c == 0x7F || c == 0x8F || c == 0x9F;
}

bool IsSpaceInNmt(char32_t c) {
  return c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
         (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
         c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

std::string Nmt(std::string_view text, bool* lost_start) {
  std::string out;
  if (!text.empty() && VanishesInNmt(NextUtf8(text).code)) *lost_start = true;
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    if (IsSpaceInNmt(step.code)) {
      out += ' ';
    } else if (!VanishesInNmt(step.code)) {
      out += text.substr(0, step.length);
    }
    text.remove_prefix(step.length);
  }
  return out;
}

// What stands for more than one character stands, for the `tokenizers`
// library, where the last of them was.
void LoseStart(std::string_view replaced, std::string_view replacement,
               bool* lost_start) {
  if (replacement.empty() || NextUtf8(replaced).length < replaced.size()) {
    *lost_start = true;
  }
}

std::string Replace(const Regex& pattern, const std::string& replacement,
                    std::string_view text, MatchBudget* budget,
                    bool* lost_start) {
  std::string out;
  Regex::Matcher matcher(pattern, budget);
  size_t done = 0, begin = 0, end = 0;
  while (done < text.size() && matcher.Find(text, done, &begin, &end)) {
    out.append(text.substr(done, begin - done)).append(replacement);
    if (begin == 0) LoseStart(text.substr(0, end), replacement, lost_start);
    done = end;
  }
  return out.append(text.substr(done));
}

std::string ReplaceText(const std::string& wanted,
                        const std::string& replacement, std::string_view text,
                        bool* lost_start) {
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(wanted); at != std::string_view::npos;
       at = text.find(wanted, done)) {
    out.append(text.substr(done, at - done)).append(replacement);
    done = at + wanted.size();
    if (at == 0) LoseStart(wanted, replacement, lost_start);
  }
  return out.append(text.substr(done));
}

}  // namespace

std::string SentencePieceSpaces::Apply(std::string_view text,
                                       bool at_start) const {
  const bool dummy = add_dummy_prefix && (at_start || !first_only);
  const std::string_view space = escape ? kVisibleSpace : " ";
  // What the next characters become; how many bytes they are.
  const auto next = [&](std::string_view rest, size_t* length) {
    const PrefixTrie::Match user = kept.Longest(rest);
    *length = user.length > 0 ? user.length : NextUtf8(rest).length;
    if (user.length == 0) {
      if (const auto match = charsmap.Longest(rest)) {
        *length = match->length;
        return match->replacement;
      }
    }
    return rest.substr(0, *length);
  };
  size_t length = 0;
  while (remove_extra && !text.empty() && next(text, &length) == " ") {
    text.remove_prefix(length);
  }
  std::string out;
  if (text.empty()) return out;
  out.reserve(text.size() + text.size() / 2);
  if (dummy && !suffix) out += space;
  bool after_space = remove_extra;
  while (!text.empty()) {
    std::string_view part = next(text, &length);
    while (after_space && !part.empty() && part.front() == ' ') {
      part.remove_prefix(1);
    }
    for (const char c : part) {
      if (c == ' ') {
        out += space;
      } else {
        out += c;
      }
    }
    if (!part.empty()) after_space = remove_extra && part.back() == ' ';
    text.remove_prefix(length);
  }
  while (remove_extra && out.size() >= space.size() &&
         std::string_view(out).substr(out.size() - space.size()) == space) {
    out.resize(out.size() - space.size());
  }
  if (dummy && suffix) out += space;
  return out;
}

Normalizer::Step* Normalizer::Add(Kind kind) {
  steps_.emplace_back();
  steps_.back().kind = kind;
  return &steps_.back();
}

void Normalizer::AddForm(UnicodeForm form) {
  // U+FDFA has eighteen characters in the compatible forms. A form of a form
  // grows no more.
  for (const Step& step : steps_) {
    if (step.kind == Kind::kForm && step.form == form) return;
  }
  growth_ *= 11;
  Add(Kind::kForm)->form = form;
}
void Normalizer::AddLowerCase() { Add(Kind::kLowerCase); }
void Normalizer::AddNmt() { Add(Kind::kNmt); }
void Normalizer::AddByteLevel() {
  growth_ *= 2;
  Add(Kind::kByteLevel);
}

void Normalizer::AddStripAccents() {
  // The marks that the `tokenizers` library knows; two are letters by now.
  static constexpr const char* kMarks =
      "[^"
#define INTARSIA_LATER_MARKS
#include "intarsia/tokenizer/unicode_later.inc"
#undef INTARSIA_LATER_MARKS
      "\\P{M}]|[\\x{1cf2}\\x{1cf3}]";
  AddReplace(Regex::Compile(kMarks).value(), "");
}

void Normalizer::AddPrepend(std::string text) {
  Add(Kind::kPrepend)->text = std::move(text);
}

void Normalizer::AddStrip(bool left, bool right) {
  Step* step = Add(Kind::kStrip);
  step->left = left;
  step->right = right;
}

void Normalizer::AddReplace(Regex pattern, std::string replacement) {
  growth_ *= std::max<double>(1, static_cast<double>(replacement.size()));
  Step* step = Add(Kind::kReplace);
  step->pattern = std::move(pattern);
  step->replacement = std::move(replacement);
}

void Normalizer::AddReplaceText(std::string text, std::string replacement) {
  if (text.empty()) return;  // nothing to find
  growth_ *= std::max(1.0, static_cast<double>(replacement.size()) /
                               static_cast<double>(text.size()));
  Step* step = Add(Kind::kReplaceText);
  step->text = std::move(text);
  step->replacement = std::move(replacement);
}

void Normalizer::AddCharsmap(Charsmap map) {
  if (map.empty()) return;
  growth_ *= static_cast<double>(map.longest_replacement());
  Add(Kind::kCharsmap)->charsmap = std::move(map);
}

void Normalizer::AddSentencePiece(SentencePieceSpaces spaces) {
  growth_ *= 3 * static_cast<double>(spaces.charsmap.longest_replacement());
  Add(Kind::kSentencePiece)->spaces = std::move(spaces);
}

std::string Normalizer::ApplyStep(const Step& step, std::string_view text,
                                  bool at_start, MatchBudget* budget,
                                  bool* lost_start) {
  switch (step.kind) {
    case Kind::kForm:
      return NormalizeUnicode(text, step.form);
    case Kind::kLowerCase:
      return LowerCase(text);
    case Kind::kNmt:
      return Nmt(text, lost_start);
    case Kind::kByteLevel:
      return ByteLevelEncode(text);
    case Kind::kPrepend:
      return text.empty() ? "" : step.text + std::string(text);
    case Kind::kStrip:
      if (step.left && LeadingSpace(text) > 0) {
        *lost_start = true;
        text.remove_prefix(LeadingSpace(text));
      }
      if (step.right) text.remove_suffix(TrailingSpace(text));
      return std::string(text);
    case Kind::kReplace:
      return Replace(step.pattern, step.replacement, text, budget, lost_start);
    case Kind::kReplaceText:
      return ReplaceText(step.text, step.replacement, text, lost_start);
    case Kind::kCharsmap:
      return NormalizeByGraphemes(step.charsmap, text, budget);
    case Kind::kSentencePiece:
      return step.spaces.Apply(text, at_start);
  }
  return std::string(text);
}

std::string Normalizer::Apply(std::string_view text, MatchBudget* budget,
                              bool* lost_start, bool at_start) const {
  bool lost = false;
  std::string result(text);
  for (const Step& step : steps_) {
    result = ApplyStep(step, result, at_start, budget, &lost);
  }
  if (lost_start != nullptr) *lost_start = lost;
  return result;
}

}  // namespace intarsia
