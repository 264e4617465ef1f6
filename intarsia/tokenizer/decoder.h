// Tokens to bytes: a chain of steps for each token, as tokenizer.json, a
// SentencePiece model or GGUF metadata says, and spaces to strip from the text
// that comes out. All of it works on a stream.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

class Decoder {
 public:
  // Steps, in the order in which a token goes through them.
  void AddByteLevel();     // GPT-2's alphabet to bytes, see byte_level.h
  void AddByteFallback();  // "<0x41>" is a byte
  void AddReplace(std::string text, std::string replacement);
  // `mark` (one character) becomes a space, or nothing in the first token if
  // `drop_first`.
  void AddMetaspace(std::string mark, bool drop_first);
  void AddSeparator();  // a space before each token but the first
  // Up to `start` and `stop` of a character at the ends of each token, or, if
  // it comes last and `whole`, of the whole text.
  Status AddStrip(char32_t character, int start, int stop, bool whole);
  // SentencePiece's rule: a token that comes before any text loses one U+2581
  // at its start; `once`: only the first of such.
  void AddDropLeadingSpace(bool once);

  // How many bytes a byte of a token can become at most: see Normalizer.
  static constexpr double kMaxGrowth = 64;
  double growth() const { return growth_; }

  // The bytes of a token as the vocabulary writes it, in the middle of a text.
  std::string TokenBytes(std::string_view token) const {
    return Apply(token, false);
  }

  // One text being decoded.
  class State {
   public:
    explicit State(const Decoder& decoder) : decoder_(&decoder) {}

    // Appends to `out` what can be said after the next token. `text` is as the
    // vocabulary writes it, `bytes` what TokenBytes gives for it; `plain`
    // tokens (unknown ones, added ones of some files) are taken as they are.
    void Push(std::string_view text, std::string_view bytes, bool plain,
              std::string* out);
    // The end of the text: drops what was held back to be stripped.
    void Finish();

   private:
    void Emit(std::string_view bytes, std::string* out);

    const Decoder* decoder_;
    bool first_ = true;      // no token yet
    bool any_text_ = false;  // something was decoded
    bool dropped_ = false;   // a leading space was dropped
    int stripped_ = 0;       // characters off the start
    bool start_done_ = false;
    std::string held_;  // may be stripped from the end
  };

 private:
  friend class State;
  enum class Kind {
    kByteLevel,
    kByteFallback,
    kReplace,
    kMetaspace,
    kSeparator,
    kStrip
  };
  struct Step {
    Kind kind;
    std::string text = {}, replacement = {};
    bool drop_first = false;
    int start = 0, stop = 0;
  };
  std::string Apply(std::string_view token, bool first) const;

  std::vector<Step> steps_;
  double growth_ = 1;
  bool position_matters_ = false;  // the first token differs
  bool drop_leading_ = false, drop_once_ = false;
  std::string strip_;  // a character, of the whole text
  int strip_start_ = 0, strip_stop_ = 0;
};

}  // namespace intarsia
