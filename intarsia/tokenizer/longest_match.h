// The RWKV world tokenizer's model: at each byte the longest token that the
// text goes on with. Source: the RWKV-LM repository's description of its trie.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "intarsia/tokenizer/model.h"
#include "intarsia/tokenizer/prefix_trie.h"

namespace intarsia {

class LongestMatch : public TokenModel {
 public:
  // `tokens` are bytes and their ids. A byte that begins no token is left out
  // unless `unk_id` stands for it.
  LongestMatch(std::vector<std::pair<std::string, int32_t>> tokens,
               int32_t unk_id);

  void Encode(std::span<const std::string_view> pieces,
              std::vector<int32_t>* ids) const override;

 private:
  PrefixTrie trie_;
  int32_t unk_id_;
};

}  // namespace intarsia
