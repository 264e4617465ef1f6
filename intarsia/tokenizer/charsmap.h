// SentencePiece's precompiled map of characters: a double array (darts-clone's)
// from byte strings to their replacements. Untrusted: every step is checked
// against the bounds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/regex.h"

namespace intarsia {

class Charsmap {
 public:
  Charsmap() = default;  // maps nothing

  // `blob`: the byte count of the array, the array (both little-endian, 32
  // bits), then the replacements, each ended by a zero byte.
  static Result<Charsmap> Parse(std::string_view blob);

  bool empty() const { return units_.empty(); }

  size_t longest_replacement() const { return longest_replacement_; }

  // The longest, or the shortest, key that `text` begins with.
  struct Match {
    size_t length = 0;  // of the key
    std::string_view replacement;
  };
  std::optional<Match> Longest(std::string_view text) const;
  std::optional<Match> Shortest(std::string_view text) const;

 private:
  std::optional<Match> Find(std::string_view text, bool longest) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
  size_t longest_replacement_ = 1;  // bytes; at least 1
};

// What the `tokenizers` library makes of a text by such a map: a grapheme of
// less than six bytes becomes the replacement of the shortest key that it
// begins with, if there is one; otherwise each of its characters is replaced.
std::string NormalizeByGraphemes(const Charsmap& map, std::string_view text,
                                 MatchBudget* budget);

}  // namespace intarsia
