// A set of byte strings, each with a number, that finds those which a text
// begins with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace intarsia {

class PrefixTrie {
 public:
  PrefixTrie() = default;

  // Empty keys are left out; of equal ones the last counts. Values are >= 0.
  explicit PrefixTrie(std::vector<std::pair<std::string, int32_t>> entries);

  bool empty() const { return slots_.empty(); }

  // Calls visit(length, value) for each key that `text` begins with, the
  // shortest first.
  template <typename Visit>
  void ForEachPrefix(std::string_view text, const Visit& visit) const {
    if (empty()) return;
    uint32_t node = kRoot;
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t child =
          slots_[node].first + static_cast<unsigned char>(text[i]);
      if (slots_[child].parent != node) return;
      node = child;
      if (slots_[node].value >= 0) visit(i + 1, slots_[node].value);
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
  // A double array: the child of a node by byte b is slot first + b, if that
  // slot names the node as its parent. Nodes share the array, each in the gaps
  // that others leave; 256 slots follow the last first.
  struct Slot {
    uint32_t parent = kNone;
    uint32_t first = 0;
    int32_t value = -1;
  };
  static constexpr uint32_t kRoot = 0, kNone = UINT32_MAX;

  // The least place from `from_` on where slots place + bytes[i] are free.
  uint32_t Place(const std::vector<unsigned char>& bytes);

  std::vector<Slot> slots_;
  uint32_t from_ = 0;  // of the search for places
};

}  // namespace intarsia
