#include "intarsia/tokenizer/prefix_trie.h"

#include <algorithm>

namespace intarsia {
namespace {

// Keys [begin, end) share their first `depth` bytes and become node `node`.
struct Range {
  size_t begin, end, depth;
  uint32_t node;
};

}  // namespace

PrefixTrie::PrefixTrie(std::vector<std::pair<std::string, int32_t>> entries)
    : nodes_(1) {
  std::stable_sort(
      entries.begin(), entries.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  // Breadth first, so that the edges of a node lie together.
  std::vector<Range> queue{{0, entries.size(), 0, 0}};
  for (size_t q = 0; q < queue.size(); ++q) {
    Range range = queue[q];
    while (range.begin < range.end &&
           entries[range.begin].first.size() == range.depth) {
      if (range.depth > 0) {
        nodes_[range.node].value = entries[range.begin].second;
      }
      ++range.begin;
    }
    nodes_[range.node].first_edge = static_cast<uint32_t>(labels_.size());
    while (range.begin < range.end) {
      const char byte = entries[range.begin].first[range.depth];
      size_t end = range.begin;
      while (end < range.end && entries[end].first[range.depth] == byte) ++end;
      const auto child = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      labels_.push_back(static_cast<unsigned char>(byte));
      targets_.push_back(child);
      ++nodes_[range.node].edges;
      if (range.node == 0) root_[static_cast<unsigned char>(byte)] = child;
      queue.push_back({range.begin, end, range.depth + 1, child});
      range.begin = end;
    }
  }
}

}  // namespace intarsia
