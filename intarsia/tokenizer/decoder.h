// Tokens to bytes: a chain of steps for each token, as tokenizer.json, a
// SentencePiece model or GGUF metadata says, and a chain for the text that
// comes out. All of it works on a stream, which holds back what may yet change.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "intarsia/tokenizer/regex.h"

namespace intarsia {

class Decoder {
 public:
  // Steps, in the order in which a token goes through them.
  void AddByteLevel();  // GPT-2's alphabet to bytes, see byte_level.h
  // "<0x41>" is a byte. `runs`: as in the `tokenizers` library, neighbouring
  // bytes that are no UTF-8 together give one U+FFFD for each of them.
  void AddByteFallback(bool runs = false);
  void AddReplace(std::string text, std::string replacement);
  void AddReplace(Regex pattern, std::string replacement);
  // `mark` (one character) becomes a space, or nothing in the first token if
  // `drop_first`.
  void AddMetaspace(std::string mark, bool drop_first);
  void AddSeparator();  // a space before each token but the first
  // Up to `start` and `stop` of a character at the ends of each token.
  void AddStrip(char32_t character, int start, int stop);

  // Steps that the whole text goes through behind all others.
  void AddWholeReplace(std::string text, std::string replacement);
  void AddWholeStrip(char32_t character, int start, int stop);

  // SentencePiece's rule: a token that comes before any text loses one U+2581
  // at its start; `once`: only the first of such.
  void AddDropLeadingSpace(bool once);

  // How many bytes a byte of a token can become at most: see Normalizer.
  static constexpr double kMaxGrowth = 64;
  double growth() const { return growth_; }

  // The bytes of a token as the vocabulary writes it, in the middle of a text.
  std::string TokenBytes(std::string_view token, MatchBudget* budget) const {
    return Apply(token, false, budget);
  }

  // One text being decoded.
  class State {
   public:
    explicit State(const Decoder& decoder)
        : decoder_(&decoder), held_(decoder.whole_.size()) {}

    // Appends to `out` what can be said after the next token. `text` is as the
    // vocabulary writes it, `bytes` what TokenBytes gives for it; `plain`
    // tokens (unknown ones, added ones of some files) are taken as they are.
    void Push(std::string_view text, std::string_view bytes, bool plain,
              std::string* out);
    // The end of the text: appends what was held back, and starts afresh.
    void Finish(std::string* out);

   private:
    // What a step for the whole text holds back.
    struct Held {
      size_t matched = 0;  // bytes of a text that may be replaced
      int stripped = 0;    // characters off the start
      bool start_done = false;
      std::string end;  // may be stripped
    };
    void EndRun(std::string* out);
    void Feed(size_t step, std::string_view bytes, std::string* out);
    void FeedReplace(size_t step, std::string_view bytes, std::string* out);
    void FeedStrip(size_t step, std::string_view bytes, std::string* out);

    const Decoder* decoder_;
    bool first_ = true;      // no token yet
    bool any_text_ = false;  // something was decoded
    bool dropped_ = false;   // a leading space was dropped
    std::string run_;        // bytes of tokens that are a byte each
    std::vector<Held> held_;
  };

 private:
  friend class State;
  enum class Kind {
    kByteLevel,
    kByteFallback,
    kReplace,
    kReplacePattern,
    kMetaspace,
    kSeparator,
    kStrip
  };
  struct Step {
    Kind kind;
    std::string text = {}, replacement = {};
    bool drop_first = false;
    int start = 0, stop = 0;
    Regex pattern = {};
  };
  // Replaces `text`, or, where that is a strip, takes it off the ends.
  struct WholeStep {
    bool strip = false;
    std::string text, replacement;
    // For each length of a beginning of `text`, that of the longest shorter
    // one which it ends with.
    std::vector<size_t> fallback;
    int start = 0, stop = 0;
  };
  std::string Apply(std::string_view token, bool first,
                    MatchBudget* budget) const;

  std::vector<Step> steps_;
  std::vector<WholeStep> whole_;
  double growth_ = 1;
  bool byte_runs_ = false;
  bool position_matters_ = false;  // the first token differs
  bool drop_leading_ = false, drop_once_ = false;
};

}  // namespace intarsia
