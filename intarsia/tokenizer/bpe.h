// Byte-pair encoding: the symbols of a piece, at first its bytes or its
// characters, are merged pair by pair, always the pair of lowest rank, leftmost
// first. Source: Sennrich et al. 2016, on bytes as in Radford et al. 2019, on
// characters with scores and bytes as a last resort as in Kudo 2018
// (SentencePiece).
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/model.h"
#include "intarsia/tokenizer/word_cache.h"

namespace intarsia {

// What becomes of a symbol that no token stands for (if there is no unknown
// token): it vanishes either way, but its neighbours may merge across it (the
// `tokenizers` library does so) or not (llama.cpp).
enum class MissingByte { kJoinNeighbours, kSeparateNeighbours };

struct BpeConfig {
  struct Merge {
    int32_t left = 0, right = 0, result = 0;  // symbols
    int32_t rank = 0;
  };
  std::vector<Merge> merges;
  // Which rank a pair has that is merged twice: llama.cpp takes the first, the
  // `tokenizers` library the last.
  enum class Repeated { kRefused, kFirst, kLast };
  Repeated repeated = Repeated::kRefused;

  // Symbols are token ids, and further numbers for characters that are part
  // of tokens without being one: first_extra + i is the character extra[i].
  int32_t first_extra = std::numeric_limits<int32_t>::max();
  std::vector<std::string> extra;

  // Bytes: a symbol each (-1: none). Characters: a symbol each; one without is
  // cut into bytes if `byte_fallback` and all of its bytes have a token.
  bool characters = false;
  std::array<int32_t, 256> byte_ids{};
  std::unordered_map<char32_t, int32_t> character_ids;
  bool byte_fallback = false;

  // Pieces taken whole without merging; empty unless the tokenizer ignores
  // merges.
  std::unordered_map<std::string, int32_t> whole;
  int32_t unk_id = -1;    // stands for a missing symbol; -1: none
  bool fuse_unk = false;  // neighbouring missing symbols give one unk
  MissingByte missing = MissingByte::kJoinNeighbours;

  // Tokens that only serve as a step to others: one that is left over is cut
  // into the two that it was merged from (SentencePiece's "unused").
  std::unordered_set<int32_t> unused;

  // Characters only: pairs of neighbours that some merge joins, as
  // first << 32 | second. A piece is cut where two known characters are not
  // among them, which changes no token and makes words of it. Empty: no cuts;
  // Create empties it if pieces may be taken whole.
  std::unordered_set<uint64_t> adjacent;
};

class Bpe : public TokenModel {
 public:
  // Fails if a pair is merged twice and that is refused. Ids must not be
  // negative, but for the -1 that mean none.
  static Result<std::unique_ptr<Bpe>> Create(BpeConfig config);
  ~Bpe() override;

  // Pieces may be any bytes if the symbols are bytes.
  void Encode(std::span<const std::string_view> pieces,
              std::vector<int32_t>* ids) const override;

 private:
  class Symbols;
  explicit Bpe(BpeConfig config);
  void EncodeWord(std::string_view word, const WordCachePool::Lease& cache,
                  std::vector<int32_t>* ids) const;
  void EncodeCharacters(std::string_view piece,
                        const WordCachePool::Lease& cache,
                        std::vector<int32_t>* ids) const;
  void Merge(std::string_view piece, std::vector<int32_t>* ids) const;
  bool Adjacent(char32_t first, char32_t second) const;
  int32_t CharacterId(char32_t code) const;  // -1: none

  BpeConfig config_;
  struct Tables;
  std::unique_ptr<Tables> tables_;
  mutable WordCachePool caches_;
};

}  // namespace intarsia
