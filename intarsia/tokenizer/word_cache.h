// A cache from short pieces of text to their tokens, of fixed size: a word's
// hash names its only slot, and a newcomer replaces who is there. For one
// thread at a time; WordCachePool hands one to each that asks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

namespace intarsia {

class WordCache {
 public:
  static constexpr size_t kMaxBytes = 31;
  static constexpr size_t kMaxTokens = 15;

  WordCache() : slots_(kSlots) {}

  // Eight bytes at a time; a word is at most kMaxBytes long.
  static uint64_t Hash(std::string_view word) {
    uint64_t hash = word.size() * 0x9E3779B97F4A7C15u;
    const char* at = word.data();
    size_t left = word.size();
    for (; left >= 8; left -= 8, at += 8) {
      uint64_t part;
      std::memcpy(&part, at, 8);
      hash = (hash ^ part) * 0xBF58476D1CE4E5B9u;
      hash ^= hash >> 29;
    }
    uint64_t part = 0;
    std::memcpy(&part, at, left);
    hash = (hash ^ part) * 0x94D049BB133111EBu;
    return hash ^ hash >> 32;
  }

  // Appends the tokens of a word; false if they are not here.
  bool Find(std::string_view word, uint64_t hash,
            std::vector<int32_t>* ids) const {
    const Slot& slot = slots_[hash % kSlots];
    if (slot.bytes != word.size() ||
        std::memcmp(slot.word, word.data(), word.size()) != 0) {
      return false;
    }
    if (slot.tokens == 1) {
      ids->push_back(slot.ids[0]);
    } else {
      ids->insert(ids->end(), slot.ids, slot.ids + slot.tokens);
    }
    return true;
  }

  void Put(std::string_view word, uint64_t hash, const int32_t* ids,
           size_t count) {
    if (count > kMaxTokens) return;
    Slot& slot = slots_[hash % kSlots];
    slot.bytes = static_cast<uint8_t>(word.size());
    slot.tokens = static_cast<uint8_t>(count);
    std::memcpy(slot.word, word.data(), word.size());
    std::copy(ids, ids + count, slot.ids);
  }

 private:
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
  static constexpr size_t kSlots = 16;  // fuzzers make a tokenizer every run
#else
  static constexpr size_t kSlots = 1 << 14;  // 1.5 MB
#endif

  struct Slot {
    uint8_t bytes = 0;  // 0: empty
    uint8_t tokens = 0;
    char word[kMaxBytes];
    int32_t ids[kMaxTokens];
  };
  std::vector<Slot> slots_;
};

// As many caches as threads have encoded at once.
class WordCachePool {
 public:
  // Holds a cache until its end.
  class Lease {
   public:
    explicit Lease(WordCachePool* pool) : pool_(pool), cache_(pool->Take()) {}
    ~Lease() { pool_->Return(std::move(cache_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    WordCache* operator->() const { return cache_.get(); }

   private:
    WordCachePool* pool_;
    std::unique_ptr<WordCache> cache_;
  };

 private:
  std::unique_ptr<WordCache> Take() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<WordCache> cache = std::move(free_.back());
        free_.pop_back();
        return cache;
      }
    }
    return std::make_unique<WordCache>();
  }
  void Return(std::unique_ptr<WordCache> cache) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(cache));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> free_;
};

}  // namespace intarsia
