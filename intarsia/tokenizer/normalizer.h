// What happens to a text before it is cut into pieces: a chain of steps, as
// tokenizer.json, a SentencePiece model or GGUF metadata says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "intarsia/tokenizer/charsmap.h"
#include "intarsia/tokenizer/prefix_trie.h"
#include "intarsia/tokenizer/regex.h"
#include "intarsia/tokenizer/unicode_forms.h"

namespace intarsia {

// U+2581, which SentencePiece writes for a space.
inline constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

// SentencePiece's own normalization: the map, then the spaces. Source: Kudo &
// Richardson 2018 and the fields of its normalizer_spec.
struct SentencePieceSpaces {
  Charsmap charsmap;
  PrefixTrie kept;  // user-defined tokens, which the map leaves alone
  bool add_dummy_prefix = true;
  bool first_only = false;   // the dummy space only at the start of all text
  bool remove_extra = true;  // at both ends, and all but one of a run
  bool escape = true;        // ' ' becomes U+2581
  bool suffix = false;       // the dummy space goes behind the text

  // `at_start`: nothing stands before `text`.
  std::string Apply(std::string_view text, bool at_start) const;
};

class Normalizer {
 public:
  void AddForm(UnicodeForm form);
  void AddLowerCase();
  void AddNmt();           // SentencePiece's table of controls and spaces
  void AddStripAccents();  // marks vanish
  void AddByteLevel();     // bytes as characters of GPT-2's alphabet
  void AddPrepend(std::string text);  // to a text that is not empty
  void AddStrip(bool left, bool right);
  void AddReplace(Regex pattern, std::string replacement);
  void AddReplaceText(std::string text, std::string replacement);
  void AddCharsmap(Charsmap map);  // by graphemes, see charsmap.h
  void AddSentencePiece(SentencePieceSpaces spaces);

  // How many bytes of the result a byte of a text can become at most, roughly:
  // readers refuse files whose steps multiply to more than kMaxGrowth.
  static constexpr double kMaxGrowth = 4096;
  double growth() const { return growth_; }

  bool empty() const { return steps_.empty(); }
  size_t size() const { return steps_.size(); }

  // `text` must be valid UTF-8, and so is the result. `lost_start`, if not
  // null, is set where characters at the start of the text were taken away.
  // `at_start`: nothing stands before `text`. Where the budget is spent, the
  // result is of no use.
  std::string Apply(std::string_view text, MatchBudget* budget,
                    bool* lost_start = nullptr, bool at_start = true) const;

 private:
  enum class Kind {
    kForm,
    kLowerCase,
    kNmt,
    kByteLevel,
    kPrepend,
    kStrip,
    kReplace,
    kReplaceText,
    kCharsmap,
    kSentencePiece
  };
  struct Step {
    Kind kind;
    UnicodeForm form = UnicodeForm::kNfc;
    bool left = false, right = false;
    Regex pattern;
    std::string text, replacement;
    Charsmap charsmap;
    SentencePieceSpaces spaces;
  };
  Step* Add(Kind kind);
  static std::string ApplyStep(const Step& step, std::string_view text,
                               bool at_start, MatchBudget* budget,
                               bool* lost_start);

  std::vector<Step> steps_;
  double growth_ = 1;
};

}  // namespace intarsia
