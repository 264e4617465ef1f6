// Added tokens: strings that are one token wherever they stand in the text,
// found before anything else happens to it. Special ones among them mark the
// structure of a conversation; text of a user must not be able to forge them,
// so they are found only on demand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

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
  // Tokens without content are never found.
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
  // The longest token that `text` starts with, or null.
  const AddedToken* Match(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // sorted by content
  bool starts_[256] = {};           // first bytes of tokens
};

}  // namespace intarsia
