// Byte-pair encoding: the symbols of a piece, at first its bytes, are merged
// pair by pair, always the pair of lowest rank, leftmost first. Source:
// Sennrich et al. 2016, on bytes as in Radford et al. 2019.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

// What becomes of a byte that no token stands for (if there is no unknown
// token): it vanishes either way, but its neighbours may merge across it (the
// `tokenizers` library does so) or not (llama.cpp).
enum class MissingByte { kJoinNeighbours, kSeparateNeighbours };

struct BpeConfig {
  struct Merge {
    int32_t left = 0, right = 0, result = 0;  // token ids
  };
  std::vector<Merge> merges;            // rank = index
  std::array<int32_t, 256> byte_ids{};  // -1: no token
  // Pieces taken whole without merging, by their bytes; empty unless the
  // tokenizer ignores merges.
  std::unordered_map<std::string, int32_t> whole;
  int32_t unk_id = -1;    // stands for a missing byte; -1: none
  bool fuse_unk = false;  // neighbouring missing bytes give one unk
  MissingByte missing = MissingByte::kJoinNeighbours;
};

// Thread-safe; keeps short pieces and their tokens in a cache of fixed size.
class Bpe {
 public:
  // Fails if a pair is merged twice. Ids must not be negative, but for the -1
  // that mean none.
  static Result<std::unique_ptr<Bpe>> Create(BpeConfig config);
  ~Bpe();

  // Appends the tokens of `piece` (any bytes, below 2 GiB).
  void Encode(std::string_view piece, std::vector<int32_t>* ids) const;

 private:
  class MergeTable;
  class WordCache;
  explicit Bpe(BpeConfig config);
  void Merge(std::string_view piece, std::vector<int32_t>* ids) const;

  BpeConfig config_;
  std::unique_ptr<MergeTable> table_;
  std::unique_ptr<WordCache> cache_;
};

}  // namespace intarsia
