// A model in front of which some tokens are found as they stand, longest first
// at each place: SentencePiece's user-defined symbols, which never merge.
#pragma once

#include <memory>
#include <utility>

#include "intarsia/tokenizer/model.h"
#include "intarsia/tokenizer/prefix_trie.h"

namespace intarsia {

class UserDefinedFirst : public TokenModel {
 public:
  // Values of `symbols` are the tokens.
  UserDefinedFirst(PrefixTrie symbols, std::unique_ptr<TokenModel> model)
      : symbols_(std::move(symbols)), model_(std::move(model)) {}

  void Encode(std::span<const std::string_view> pieces,
              std::vector<int32_t>* ids) const override {
    for (const std::string_view piece : pieces) {
      size_t done = 0;
      for (size_t at = 0; at < piece.size();) {
        const PrefixTrie::Match match = symbols_.Longest(piece.substr(at));
        if (match.length == 0) {
          ++at;
          continue;
        }
        EncodeRest(piece.substr(done, at - done), ids);
        ids->push_back(match.value);
        at += match.length;
        done = at;
      }
      EncodeRest(piece.substr(done), ids);
    }
  }

 private:
  void EncodeRest(std::string_view text, std::vector<int32_t>* ids) const {
    if (!text.empty()) model_->Encode({&text, 1}, ids);
  }

  PrefixTrie symbols_;
  std::unique_ptr<TokenModel> model_;
};

}  // namespace intarsia
