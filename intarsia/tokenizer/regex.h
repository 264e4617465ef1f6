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

// What all matches in one text may cost. A pattern's steps can't be counted
// (machine code counts only some), so it is the thread's time: hundreds of
// times what the patterns in use take, and when it is spent, the text is
// refused and not cut otherwise.
class MatchBudget {
 public:
  explicit MatchBudget(size_t text_bytes);

  // Looks at the clock now and then, or `now`; false if all is spent.
  bool Spend(bool now);
  void GiveUp() { spent_ = true; }
  bool spent() const { return spent_; }
  // InvalidArgument if it was spent.
  Status status() const;

 private:
  size_t text_bytes_;
  double limit_;        // seconds
  double start_ = -1;   // -1: not looked at yet
  int until_look_ = 0;  // matches
  bool spent_ = false;
};

// Immutable once made; threads may share it, each with its own Matcher.
class Regex {
 public:
  // An error names what PCRE2 found wrong and where in the pattern.
  static Result<Regex> Compile(std::string_view pattern);

  // A pattern that matches `text` itself.
  static Result<Regex> Literal(std::string_view text);

  // One search after another, in one text.
  class Matcher {
   public:
    // `budget` must outlive the matcher.
    Matcher(const Regex& regex, MatchBudget* budget);

    // The first non-empty match at or after `from`; false if there is none, or
    // if the budget was spent. `subject` must be valid UTF-8; lookarounds see
    // all of it.
    bool Find(std::string_view subject, size_t from, size_t* begin,
              size_t* end);

   private:
    struct Data;
    const Regex& regex_;
    MatchBudget& budget_;
    std::shared_ptr<Data> data_;
  };

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace intarsia
