// The unigram language model: of all ways to cut a piece into tokens, the one
// whose scores (log-probabilities) have the largest sum. Source: Kudo 2018.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/model.h"
#include "intarsia/tokenizer/prefix_trie.h"

namespace intarsia {

// A search takes as many steps for a byte of text as the longest token has
// bytes, so longer ones are refused.
Status CheckPieceLength(std::string_view text);

struct UnigramConfig {
  struct Token {
    std::string text;
    double score = 0;
    int32_t id = 0;
  };
  std::vector<Token> tokens;
  int32_t unk_id = -1;  // stands for characters without a token; -1: none
  double unk_score = 0;
  // Sums in float, as the sentencepiece library has them; the `tokenizers`
  // library and llama.cpp sum in double.
  bool single_precision = false;
  // If the model falls back to bytes: the token of each byte. It does so only
  // where all bytes of an unknown run have one (-1: none).
  bool byte_fallback = false;
  std::array<int32_t, 256> byte_ids{};
};

class Unigram : public TokenModel {
 public:
  explicit Unigram(UnigramConfig config);

  // A run of unknown characters gives its bytes, or one unknown token.
  void Encode(std::span<const std::string_view> pieces,
              std::vector<int32_t>* ids) const override;

 private:
  template <typename Score>
  void EncodePiece(std::string_view piece, std::vector<int32_t>* ids) const;
  void AppendUnknown(std::string_view run, std::vector<int32_t>* ids) const;

  UnigramConfig config_;
  PrefixTrie trie_;  // values are indices of config_.tokens
};

}  // namespace intarsia
