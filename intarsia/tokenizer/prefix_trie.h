// A set of byte strings, each with a number, that finds those which a text
// begins with.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace intarsia {

class PrefixTrie {
 public:
  PrefixTrie() : nodes_(1) {}

  // Empty keys are left out; of equal ones the last counts. Values are >= 0.
  explicit PrefixTrie(std::vector<std::pair<std::string, int32_t>> entries);

  bool empty() const { return nodes_.size() == 1; }

  // Calls visit(length, value) for each key that `text` begins with, the
  // shortest first.
  template <typename Visit>
  void ForEachPrefix(std::string_view text, const Visit& visit) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = Child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) return;
      if (nodes_[node].value >= 0) visit(i + 1, nodes_[node].value);
    }
  }

  // The longest key that `text` begins with; length 0 if there is none.
  struct Match {
    size_t length = 0;
    int32_t value = -1;
  };
  Match Longest(std::string_view text) const {
    Match match;
    ForEachPrefix(text, [&](size_t length, int32_t value) {
      match = {length, value};
    });
    return match;
  }

 private:
  // The edges of a node lie together, sorted by byte; the root is node 0.
  struct Node {
    uint32_t first_edge = 0;
    uint32_t edges = 0;
    int32_t value = -1;
  };
  uint32_t Child(uint32_t node, unsigned char byte) const {
    if (node == 0) return root_[byte];
    const Node& n = nodes_[node];
    uint32_t low = n.first_edge, high = n.first_edge + n.edges;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (labels_[middle] < byte) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    const bool found = low < n.first_edge + n.edges && labels_[low] == byte;
    return found ? targets_[low] : 0;
  }

  std::vector<Node> nodes_;
  std::vector<unsigned char> labels_;
  std::vector<uint32_t> targets_;
  std::array<uint32_t, 256> root_{};
};

}  // namespace intarsia
