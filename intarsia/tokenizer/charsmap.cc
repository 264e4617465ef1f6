#include "intarsia/tokenizer/charsmap.h"

#include <algorithm>
#include <cstring>

#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

// A unit of the double array: bits 0-7 and 31 are the label that the way to it
// must have, bit 8 tells that a key ends here, bits 10-30 are the offset to the
// children, shifted by 8 more if bit 9 is set. A value has bit 31 set and the
// rest for itself.
uint32_t Label(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t Offset(uint32_t unit) {
  return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

}  // namespace

Result<Charsmap> Charsmap::Parse(std::string_view blob) {
  Charsmap map;
  if (blob.empty()) return map;
  uint32_t bytes = 0;
  if (blob.size() < sizeof(bytes)) {
    return DataLoss("precompiled_charsmap: is shorter than its header");
  }
  std::memcpy(&bytes, blob.data(), sizeof(bytes));
  blob.remove_prefix(sizeof(bytes));
  if (bytes > blob.size() || bytes % 4 != 0 || bytes == 0) {
    return DataLoss("precompiled_charsmap: an array of " +
                    std::to_string(bytes) + " bytes in a map of " +
                    std::to_string(blob.size()));
  }
  map.units_.resize(bytes / 4);
  std::memcpy(map.units_.data(), blob.data(), bytes);
  map.replacements_ = blob.substr(bytes);
  if (map.replacements_.empty() || map.replacements_.back() != '\0') {
    return DataLoss("precompiled_charsmap: the last replacement has no end");
  }
  for (size_t at = 0; at < map.replacements_.size();) {
    const size_t end = map.replacements_.find('\0', at);
    map.longest_replacement_ = std::max(map.longest_replacement_, end - at);
    at = end + 1;
  }
  if (!IsValidUtf8(map.replacements_)) {
    return DataLoss("precompiled_charsmap: is not valid UTF-8");
  }
  return map;
}

std::optional<Charsmap::Match> Charsmap::Find(std::string_view text,
                                              bool longest) const {
  std::optional<Match> found;
  if (units_.empty()) return found;
  size_t node = Offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0) break;
    node ^= byte;
    if (node >= units_.size() || Label(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= Offset(unit);
    if (!HasLeaf(unit) || node >= units_.size()) continue;
    const uint32_t at = Value(units_[node]);
    if (at >= replacements_.size()) break;
    const std::string_view rest = std::string_view(replacements_).substr(at);
    const std::string_view text_of = rest.substr(0, rest.find('\0'));
    // A value may point into the middle of a character.
    if (!IsValidUtf8(text_of)) break;
    found = {i + 1, text_of};
    if (!longest) break;
  }
  return found;
}

std::optional<Charsmap::Match> Charsmap::Longest(std::string_view text) const {
  return Find(text, true);
}

std::optional<Charsmap::Match> Charsmap::Shortest(std::string_view text) const {
  return Find(text, false);
}

std::string NormalizeByGraphemes(const Charsmap& map, std::string_view text,
                                 MatchBudget* budget) {
  static const Regex grapheme = Regex::Compile("\\X").value();
  constexpr size_t kWholeBelow = 6;  // bytes
  std::string out;
  Regex::Matcher matcher(grapheme, budget);
  size_t begin = 0, end = 0;
  for (size_t at = 0; at < text.size(); at = end) {
    if (!matcher.Find(text, at, &begin, &end)) break;
    std::string_view rest = text.substr(begin, end - begin);
    if (rest.size() < kWholeBelow) {
      if (const auto match = map.Shortest(rest)) {
        out += match->replacement;
        continue;
      }
    }
    while (!rest.empty()) {
      const std::string_view one = rest.substr(0, NextUtf8(rest).length);
      const auto match = map.Shortest(one);
      out += match ? match->replacement : one;
      rest.remove_prefix(one.size());
    }
  }
  return out;
}

}  // namespace intarsia
