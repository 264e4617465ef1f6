#include "intarsia/tokenizer/chat_template/text.h"

#include <algorithm>

#include "intarsia/tokenizer/regex.h"

namespace intarsia::chat_template {
namespace {

bool Matches(const Regex& regex, char32_t c) {
  std::string text;
  AppendUtf8(c, &text);
  size_t begin = 0, end = 0;
  MatchBudget budget(text.size());
  return Regex::Matcher(regex, &budget).Find(text, 0, &begin, &end);
}

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
         c == 0x2028 || c == 0x2029;
}

}  // namespace

std::u32string Characters(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    out.push_back(step.code);
    text.remove_prefix(step.length);
  }
  return out;
}

std::string FromCharacters(std::u32string_view characters) {
  std::string out;
  out.reserve(characters.size());
  for (const char32_t c : characters) AppendUtf8(c, &out);
  return out;
}

size_t CharacterCount(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(),
      [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool IsSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }

bool IsAlphabetic(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  static const Regex letter = Regex::Compile("\\p{L}").value();
  return Matches(letter, c);
}

bool IsPrintable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  static const Regex other = Regex::Compile("[\\p{C}\\p{Z}]").value();
  return !Matches(other, c);
}

std::string Strip(std::string_view text, const std::string* characters,
                  bool left, bool right) {
  const std::u32string all = Characters(text);
  const std::u32string set = characters ? Characters(*characters) : U"";
  const auto drop = [&](char32_t c) {
    return characters ? set.find(c) != std::u32string::npos : IsSpace(c);
  };
  size_t begin = 0, end = all.size();
  while (left && begin < end && drop(all[begin])) ++begin;
  while (right && end > begin && drop(all[end - 1])) --end;
  return FromCharacters(std::u32string_view(all).substr(begin, end - begin));
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::vector<std::string> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  const std::u32string all = Characters(text);
  size_t begin = 0;
  while (begin < all.size()) {
    size_t end = begin;
    while (end < all.size() && !IsLineEnd(all[end])) ++end;
    size_t next = end;
    if (next < all.size()) {
      next += all[end] == '\r' && end + 1 < all.size() && all[end + 1] == '\n'
                  ? 2
                  : 1;
    }
    lines.push_back(FromCharacters(std::u32string_view(all).substr(
        begin, (keep_ends ? next : end) - begin)));
    begin = next;
  }
  return lines;
}

namespace {

// What is left over at the limit keeps its white space at the end.
std::vector<std::string> SplitSpace(std::string_view text, int64_t limit) {
  std::vector<std::string> out;
  const std::u32string all = Characters(text);
  const auto part = [&](size_t begin, size_t end) {
    return FromCharacters(std::u32string_view(all).substr(begin, end - begin));
  };
  size_t at = 0;
  while (true) {
    while (at < all.size() && IsSpace(all[at])) ++at;
    if (at == all.size()) return out;
    if (limit >= 0 && static_cast<int64_t>(out.size()) == limit) {
      out.push_back(part(at, all.size()));
      return out;
    }
    const size_t begin = at;
    while (at < all.size() && !IsSpace(all[at])) ++at;
    out.push_back(part(begin, at));
  }
}

}  // namespace

std::vector<std::string> Split(std::string_view text,
                               std::string_view separator, int64_t limit) {
  if (separator.empty()) return SplitSpace(text, limit);
  std::vector<std::string> out;
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    out.emplace_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  out.emplace_back(text);
  return out;
}

std::vector<std::string> SplitRight(std::string_view text,
                                    std::string_view separator, int64_t limit) {
  if (separator.empty()) {
    // The same runs, read from the other end.
    std::u32string reversed = Characters(text);
    std::reverse(reversed.begin(), reversed.end());
    std::vector<std::string> out = SplitSpace(FromCharacters(reversed), limit);
    for (std::string& part : out) {
      std::u32string characters = Characters(part);
      std::reverse(characters.begin(), characters.end());
      part = FromCharacters(characters);
    }
    std::reverse(out.begin(), out.end());
    return out;
  }
  std::vector<std::string> out;
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    const size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    out.emplace_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  out.emplace_back(text);
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace intarsia::chat_template
