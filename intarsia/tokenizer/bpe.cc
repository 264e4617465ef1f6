#include "intarsia/tokenizer/bpe.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>
#include <utility>

namespace intarsia {
namespace {

constexpr int32_t kNone = -1;

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 |
         static_cast<uint32_t>(right);
}

uint64_t Mix(uint64_t x) {  // finaliser of SplitMix64
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

}  // namespace

// (left, right) → (rank, result): open addressing, at most half full.
class Bpe::MergeTable {
 public:
  struct Slot {
    uint64_t key = kEmpty;
    int32_t rank = 0;
    int32_t result = kNone;
  };

  explicit MergeTable(size_t merges) {
    size_t size = 16;
    while (size < 2 * merges) size *= 2;
    slots_.resize(size);
  }

  // False if the pair is there already.
  bool Insert(int32_t left, int32_t right, int32_t rank, int32_t result) {
    const uint64_t key = PairKey(left, right);
    Slot& slot = slots_[Position(key)];
    if (slot.key == key) return false;
    slot = {key, rank, result};
    return true;
  }

  const Slot* Find(int32_t left, int32_t right) const {
    const uint64_t key = PairKey(left, right);
    const Slot& slot = slots_[Position(key)];
    return slot.key == key ? &slot : nullptr;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // no pair of ids >= 0

  size_t Position(uint64_t key) const {
    size_t i = Mix(key) & (slots_.size() - 1);
    while (slots_[i].key != key && slots_[i].key != kEmpty) {
      i = (i + 1) & (slots_.size() - 1);
    }
    return i;
  }

  std::vector<Slot> slots_;
};

// A direct-mapped cache: a word's hash names its only slot, and a newcomer
// replaces who is there. Memory is fixed, about 1.5 MB.
class Bpe::WordCache {
 public:
  static constexpr size_t kMaxBytes = 31;
  static constexpr size_t kMaxTokens = 15;

  WordCache() : slots_(kSlots), locks_(kLocks) {}

  bool Find(std::string_view word, uint64_t hash,
            std::vector<int32_t>* ids) const {
    const Slot& slot = slots_[hash % kSlots];
    const std::lock_guard<std::mutex> lock(locks_[hash % kLocks]);
    if (slot.bytes != word.size() ||
        std::memcmp(slot.word, word.data(), word.size()) != 0) {
      return false;
    }
    ids->insert(ids->end(), slot.ids, slot.ids + slot.tokens);
    return true;
  }

  void Put(std::string_view word, uint64_t hash, const int32_t* ids,
           size_t count) {
    if (count > kMaxTokens) return;
    Slot& slot = slots_[hash % kSlots];
    const std::lock_guard<std::mutex> lock(locks_[hash % kLocks]);
    slot.bytes = static_cast<uint8_t>(word.size());
    slot.tokens = static_cast<uint8_t>(count);
    std::memcpy(slot.word, word.data(), word.size());
    std::copy(ids, ids + count, slot.ids);
  }

 private:
  static constexpr size_t kSlots = 1 << 14;
  static constexpr size_t kLocks = 1 << 6;  // divides kSlots

  struct Slot {
    uint8_t bytes = 0;  // 0: empty
    uint8_t tokens = 0;
    char word[kMaxBytes];
    int32_t ids[kMaxTokens];
  };
  std::vector<Slot> slots_;
  mutable std::vector<std::mutex> locks_;
};

Bpe::Bpe(BpeConfig config) : config_(std::move(config)) {}
Bpe::~Bpe() = default;

Result<std::unique_ptr<Bpe>> Bpe::Create(BpeConfig config) {
  std::unique_ptr<Bpe> bpe(new Bpe(std::move(config)));
  auto& merges = bpe->config_.merges;
  bpe->table_ = std::make_unique<MergeTable>(merges.size());
  bpe->cache_ = std::make_unique<WordCache>();
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeConfig::Merge& m = merges[rank];
    if (!bpe->table_->Insert(m.left, m.right, static_cast<int32_t>(rank),
                             m.result)) {
      return InvalidArgument("merge " + std::to_string(rank) +
                             " repeats an earlier one");
    }
  }
  std::vector<BpeConfig::Merge>().swap(merges);
  return bpe;
}

void Bpe::Encode(std::string_view piece, std::vector<int32_t>* ids) const {
  if (piece.empty()) return;
  CHECK_LT(piece.size(), static_cast<size_t>(std::numeric_limits<int>::max()));
  if (piece.size() > WordCache::kMaxBytes) return Merge(piece, ids);
  const uint64_t hash = Mix(std::hash<std::string_view>()(piece));
  if (cache_->Find(piece, hash, ids)) return;
  const size_t before = ids->size();
  Merge(piece, ids);
  cache_->Put(piece, hash, ids->data() + before, ids->size() - before);
}

void Bpe::Merge(std::string_view piece, std::vector<int32_t>* ids) const {
  if (!config_.whole.empty()) {
    const auto it = config_.whole.find(std::string(piece));
    if (it != config_.whole.end()) return ids->push_back(it->second);
  }
  // Symbols form a linked list; one merged into its left neighbour, and a
  // missing byte, has the id kNone.
  struct Symbol {
    int32_t id, previous, next;
  };
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  bool last_missing = false;
  for (const char c : piece) {
    int32_t id = config_.byte_ids[static_cast<unsigned char>(c)];
    const bool missing = id < 0;
    if (missing) {
      const bool fused = last_missing && config_.fuse_unk;
      if (config_.unk_id >= 0
              ? fused
              : config_.missing == MissingByte::kJoinNeighbours) {
        last_missing = true;
        continue;
      }
      id = config_.unk_id;
    }
    last_missing = missing;
    const auto at = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;

  // Candidates, lowest rank first and leftmost among equals. One is stale if
  // either symbol has changed since.
  struct Candidate {
    int32_t rank, at, left, right, result;
    bool operator<(const Candidate& other) const {  // for a min-heap
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  std::vector<Candidate> heap;
  const auto consider = [&](int32_t at) {
    const int32_t next = symbols[at].next;
    if (next == kNone) return;
    const int32_t left = symbols[at].id, right = symbols[next].id;
    if (left < 0 || right < 0) return;
    const MergeTable::Slot* merge = table_->Find(left, right);
    if (merge == nullptr) return;
    heap.push_back({merge->rank, at, left, right, merge->result});
    std::push_heap(heap.begin(), heap.end());
  };
  for (size_t i = 0; i < symbols.size(); ++i) {
    consider(static_cast<int32_t>(i));
  }
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& symbol = symbols[top.at];
    if (symbol.id != top.left || symbol.next == kNone ||
        symbols[symbol.next].id != top.right) {
      continue;
    }
    Symbol& gone = symbols[symbol.next];
    symbol.id = top.result;
    symbol.next = gone.next;
    gone.id = kNone;
    if (symbol.next != kNone) symbols[symbol.next].previous = top.at;
    if (symbol.previous >= 0) consider(symbol.previous);
    consider(top.at);
  }
  for (int32_t at = 0; at != kNone; at = symbols[at].next) {
    if (symbols[at].id >= 0) ids->push_back(symbols[at].id);
  }
}

}  // namespace intarsia
