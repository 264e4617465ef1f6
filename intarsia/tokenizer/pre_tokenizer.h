// Cuts text into the pieces that a model encodes one by one: a chain of stages,
// most of them splits by a pattern, as tokenizer.json or the name in a GGUF
// file says. The readers are pre_tokenizer_json.cc and pre_tokenizer_names.cc.
#pragma once

#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/regex.h"

namespace intarsia {

// What happens to a match of the pattern and to the text between matches.
enum class SplitBehavior {
  kIsolated,            // each is a piece
  kRemoved,             // matches vanish
  kMergedWithPrevious,  // a match ends the piece before it
  kMergedWithNext,      // a match begins the piece after it
  kContiguous,          // neighbouring matches are one piece
};

// What a name in a GGUF file stands for, beside the splits.
struct NamedPreTokenizer {
  bool ignore_merges = false;  // a piece that is a token is taken whole
  bool add_bos = false;        // unless the file says otherwise
  bool bytes = true;           // else BPE over characters, spaces as U+2581
};

// A name with its splits, each by a pattern whose matches are pieces.
struct PreTokenizerName {
  std::string name;
  std::vector<std::string> patterns;
  NamedPreTokenizer rest;
};
// All that are known; of names that mean the same the usual one comes first.
const std::vector<PreTokenizerName>& PreTokenizerNames();

class PreTokenizer {
 public:
  // The text as one piece.
  PreTokenizer() = default;

  // From the "pre_tokenizer" of a tokenizer.json (null: one piece).
  static Result<PreTokenizer> FromJson(const nlohmann::json& spec);

  // From tokenizer.ggml.pre.
  static Result<PreTokenizer> FromName(std::string_view name,
                                       NamedPreTokenizer* named);

  // True if the pieces are to be read as bytes: after ByteLevel.
  bool byte_level() const { return byte_level_; }

  // Appends the pieces of `text` (valid UTF-8), in order, none of them empty.
  // `at_start`: nothing stands before `text`. Pieces view `text`, or strings
  // appended to `storage`, which keep their place.
  // Where the budget is spent, they are of no use.
  void Split(std::string_view text, bool at_start, MatchBudget* budget,
             std::vector<std::string_view>* pieces,
             std::deque<std::string>* storage) const;

 private:
  enum class Kind {
    kSplit,
    kPrefixSpace,
    kMetaspace,
    kToAlphabet,    // bytes as characters of GPT-2's alphabet
    kFromAlphabet,  // and back
    kFixedLength
  };
  // When Metaspace puts its mark before a text that lacks it.
  enum class Prepend { kNever, kFirst, kAlways };
  struct Stage {
    Kind kind = Kind::kSplit;
    Regex regex;
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;
    std::string mark;  // of Metaspace
    Prepend prepend = Prepend::kNever;
    size_t length = 0;  // in characters
  };
  Status AddJson(const nlohmann::json& spec, int depth);
  Status AddJsonByteLevel(const nlohmann::json& spec);
  Status AddJsonSplit(const nlohmann::json& spec);
  Status AddJsonMetaspace(const nlohmann::json& spec);
  Status AddSplit(std::string_view pattern, SplitBehavior behavior,
                  bool invert = false);
  void SplitStage(const Stage& stage, bool at_start, MatchBudget* budget,
                  const std::vector<std::string_view>& from,
                  std::vector<std::string_view>* to,
                  std::deque<std::string>* storage) const;

  std::vector<Stage> stages_;
  bool byte_level_ = false;
};

// GPT-2's pattern, which ByteLevel uses.
extern const char* const kGpt2Pattern;

}  // namespace intarsia
