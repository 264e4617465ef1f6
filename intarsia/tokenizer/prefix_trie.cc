#include "intarsia/tokenizer/prefix_trie.h"

#include <algorithm>
#include <deque>

namespace intarsia {
namespace {

// Keys [begin, end) share their first `depth` bytes and become node `node`.
struct Range {
  size_t begin, end, depth;
  uint32_t node;
};

}  // namespace

uint32_t PrefixTrie::Place(const std::vector<unsigned char>& bytes) {
  // After so many slots the search leaves all before behind: building stays
  // linear, and few gaps are lost.
  constexpr int kPatience = 512;
  const auto free = [&](uint32_t slot) {
    return slots_.size() <= slot || slots_[slot].parent == kNone;
  };
  for (uint32_t place = from_, tried = 0;; ++place, ++tried) {
    if (std::ranges::all_of(
            bytes, [&](unsigned char byte) { return free(place + byte); })) {
      return place;
    }
    if (tried >= kPatience) from_ = place;
  }
}

PrefixTrie::PrefixTrie(std::vector<std::pair<std::string, int32_t>> entries) {
  std::erase_if(entries, [](const auto& entry) { return entry.first.empty(); });
  if (entries.empty()) return;
  std::stable_sort(
      entries.begin(), entries.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  slots_.resize(1);
  slots_[kRoot].parent = kRoot;  // taken; a node's first is 1 or more
  from_ = 1;
  // No longer than there are entries, which all its ranges share.
  std::deque<Range> queue{{0, entries.size(), 0, kRoot}};
  for (; !queue.empty(); queue.pop_front()) {
    Range range = queue.front();
    while (range.begin < range.end &&
           entries[range.begin].first.size() == range.depth) {
      slots_[range.node].value = entries[range.begin].second;
      ++range.begin;
    }
    std::vector<unsigned char> bytes;
    std::vector<size_t> ends;
    for (size_t at = range.begin; at < range.end; ++at) {
      const auto byte =
          static_cast<unsigned char>(entries[at].first[range.depth]);
      if (bytes.empty() || bytes.back() != byte) {
        bytes.push_back(byte);
        ends.push_back(at);
      }
      ends.back() = at + 1;
    }
    if (bytes.empty()) continue;
    const uint32_t first = Place(bytes);
    if (slots_.size() < first + 256) slots_.resize(first + 256);
    slots_[range.node].first = first;
    size_t begin = range.begin;
    for (size_t i = 0; i < bytes.size(); ++i) {
      const uint32_t child = first + bytes[i];
      slots_[child].parent = range.node;
      queue.push_back({begin, ends[i], range.depth + 1, child});
      begin = ends[i];
    }
  }
}

}  // namespace intarsia
