// Makes a Bpe of a vocabulary whose tokens a TokenizerBuilder holds: by a list
// of merges (tokenizer.json, GGUF) or by the scores of the tokens
// (SentencePiece).
#pragma once

#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/bpe.h"
#include "intarsia/tokenizer/builder.h"

namespace intarsia {

class BpeBuilder {
 public:
  // `bytes`: tokens are written in GPT-2's alphabet, and symbols are bytes;
  // otherwise characters. Uses the tokens that `vocabulary` has at Build.
  BpeBuilder(const TokenizerBuilder& vocabulary, bool bytes);

  // The next merge in order of rank. Fails unless left, right and both
  // together are tokens.
  Status AddMerge(std::string_view left, std::string_view right);

  // Every pair of symbols whose text together is a token merges, the higher
  // score first, leftmost among equals. `scores[id]` counts for ids of `ids`.
  // Fails on tokens of more than 2048 bytes: each of their cuts is tried.
  Status AddMergesByScore(const std::vector<int32_t>& ids,
                          const std::vector<float>& scores);

  void set_unk(int32_t id, bool fuse);
  void set_repeated(BpeConfig::Repeated repeated) {
    config_.repeated = repeated;
  }
  void set_missing(MissingByte missing) { config_.missing = missing; }
  // "<0x41>" stands for a byte of a character without a token.
  void set_byte_fallback(bool on) { config_.byte_fallback = on; }
  // Pieces that are tokens are taken whole.
  void set_ignore_merges(bool on) { ignore_merges_ = on; }
  void set_unused(std::unordered_set<int32_t> ids);

  Result<std::unique_ptr<TokenModel>> Build();

 private:
  int32_t Symbol(std::string_view text);
  void FindCharacters();

  const TokenizerBuilder& vocabulary_;
  BpeConfig config_;
  bool ignore_merges_ = false;
  std::unordered_map<std::string_view, int32_t> by_score_;
};

// The id of the token "<0x41>" of each byte; -1: none.
std::array<int32_t, 256> ByteTokens(const TokenizerBuilder& vocabulary);

// `text` in quotes, cut short: for errors.
std::string QuoteToken(std::string_view text);

}  // namespace intarsia
