// Regular expressions over UTF-8 (PCRE2, compiled to machine code where the
// platform allows), in the dialect in which tokenizer files are written: \s
// and \w mean Unicode's White_Space and word characters, ^ and $ also match at
// line ends.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "intarsia/core/status.h"

namespace intarsia {

// Immutable once made; threads may share it, each with its own Matcher.
class Regex {
 public:
  // An error names what PCRE2 found wrong and where in the pattern.
  static Result<Regex> Compile(std::string_view pattern);

  // A pattern that matches `text` itself.
  static Result<Regex> Literal(std::string_view text);

  class Matcher {
   public:
    explicit Matcher(const Regex& regex);

    // The first non-empty match at or after `from`; false if there is none, or
    // if the pattern needed more steps than a match may take. `subject` must
    // be valid UTF-8; lookarounds see all of it.
    bool Find(std::string_view subject, size_t from, size_t* begin,
              size_t* end);

   private:
    struct Data;
    const Regex& regex_;
    std::shared_ptr<Data> data_;
  };

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace intarsia
