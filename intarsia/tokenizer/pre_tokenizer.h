// Cuts text into the pieces within which BPE merges: a chain of splits, each by
// a pattern, as tokenizer.json or the name in a GGUF file says.
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

class PreTokenizer {
 public:
  // From the "pre_tokenizer" of a tokenizer.json: ByteLevel, Digits, Split and
  // Sequence of these, ByteLevel last.
  static Result<PreTokenizer> FromJson(const nlohmann::json& spec);

  // From tokenizer.ggml.pre. `ignore_merges` tells whether a piece that is a
  // token is taken whole in that family.
  static Result<PreTokenizer> FromName(std::string_view name,
                                       bool* ignore_merges);

  // Appends the pieces of `text` (valid UTF-8), in order, none of them empty.
  // Pieces view `text`, or strings appended to `storage`, which keep their
  // place.
  void Split(std::string_view text, std::vector<std::string_view>* pieces,
             std::deque<std::string>* storage) const;

 private:
  struct Stage {
    bool prefix_space = false;  // else a split:
    Regex regex;
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;
  };
  Status AddJson(const nlohmann::json& spec, int depth);
  Status AddJsonByteLevel(const nlohmann::json& spec);
  Status AddJsonSplit(const nlohmann::json& spec);
  Status AddSplit(std::string_view pattern, SplitBehavior behavior,
                  bool invert);

  std::vector<Stage> stages_;
  bool byte_level_ = false;
};

}  // namespace intarsia
