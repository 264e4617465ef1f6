#include "intarsia/tokenizer/longest_match.h"

#include <algorithm>

namespace intarsia {

LongestMatch::LongestMatch(std::vector<std::pair<std::string, int32_t>> tokens,
                           int32_t unk_id)
    : trie_(std::move(tokens)), unk_id_(unk_id) {}

void LongestMatch::Encode(std::span<const std::string_view> pieces,
                          std::vector<int32_t>* ids) const {
  for (std::string_view rest : pieces) {
    while (!rest.empty()) {
      const PrefixTrie::Match match = trie_.Longest(rest);
      const int32_t id = match.length > 0 ? match.value : unk_id_;
      if (id >= 0) ids->push_back(id);
      rest.remove_prefix(std::max<size_t>(match.length, 1));
    }
  }
}

}  // namespace intarsia
