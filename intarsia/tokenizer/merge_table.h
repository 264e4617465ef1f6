// The merges of BPE: (left, right) → (rank, result). Open addressing, at most
// half full.
#pragma once

#include <cstdint>
#include <vector>

namespace intarsia {

class MergeTable {
 public:
  struct Slot {
    uint64_t key = ~uint64_t{0};  // no pair of ids >= 0
    int32_t rank = 0;
    int32_t result = -1;
  };

  explicit MergeTable(size_t merges) {
    size_t size = 16;
    while (size < 2 * merges) size *= 2;
    slots_.resize(size);
  }

  // False if the pair is there already; then `replace` decides which counts.
  bool Insert(int32_t left, int32_t right, int32_t rank, int32_t result,
              bool replace) {
    const uint64_t key = PairKey(left, right);
    Slot& slot = slots_[Position(key)];
    const bool is_new = slot.key != key;
    if (is_new || replace) slot = {key, rank, result};
    return is_new;
  }

  // Null if the pair does not merge. Ids must not be negative.
  const Slot* Find(int32_t left, int32_t right) const {
    const uint64_t key = PairKey(left, right);
    const Slot& slot = slots_[Position(key)];
    return slot.key == key ? &slot : nullptr;
  }

 private:
  static uint64_t PairKey(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 |
           static_cast<uint32_t>(right);
  }

  size_t Position(uint64_t key) const {
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
    size_t i = hash & (slots_.size() - 1);
    while (slots_[i].key != key && slots_[i].key != ~uint64_t{0}) {
      i = (i + 1) & (slots_.size() - 1);
    }
    return i;
  }

  std::vector<Slot> slots_;
};

}  // namespace intarsia
