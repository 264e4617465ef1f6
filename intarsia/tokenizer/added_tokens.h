// Added tokens: strings that are one token wherever they stand in the text,
// found before anything else happens to it. Special ones among them mark the
// structure of a conversation; text of a user must not be able to forge them,
// so they are found only on demand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/tokenizer/prefix_trie.h"

namespace intarsia {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;
  bool single_word = false;  // only between non-word characters
  bool lstrip = false;       // swallows the white space before it
  bool rstrip = false;       // and after it
  bool normalized = true;    // looked for in the normalised text
};

// Finds the tokens of one set; leftmost first, longest among those.
class AddedTokenMatcher {
 public:
  // Bytes of a content; the search takes at most as many steps for each byte
  // of a text.
  static constexpr size_t kLongest = 1024;

  // Tokens without content are never found; of equal contents (two tokens may
  // be normalised to the same) the first special one counts, or the first.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens = {});

  // A stretch of text: an added token, or (id -1) what lies between.
  struct Span {
    std::string_view text;
    int32_t id = -1;
  };
  // Appends the spans of `text` (valid UTF-8), in order, none of them empty.
  void Split(std::string_view text, bool find_special,
             std::vector<Span>* spans) const;

 private:
  std::vector<AddedToken> tokens_;
  PrefixTrie trie_;        // values are indices of tokens_
  bool starts_[256] = {};  // first bytes of tokens
};

}  // namespace intarsia
