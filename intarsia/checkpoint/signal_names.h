// Names that a signal handler can read while other threads add some.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

namespace intarsia {

// A list that only grows: no entry is freed, one that is free serves the same
// name again. It is as long as there were names at a time.
class SignalNames {
 public:
  struct Entry {
    std::string name;
    std::atomic<bool> used = true;
    std::atomic<uintptr_t> begin = 0, end = 0;  // of what has the name
    Entry* next = nullptr;
  };

  Entry* Take(const std::string& name) {
    const std::lock_guard lock(mutex_);
    for (Entry* at = newest_; at != nullptr; at = at->next) {
      if (at->used || at->name != name) continue;
      at->used = true;
      return at;
    }
    auto* fresh = new Entry{.name = name, .next = newest_};
    newest_ = fresh;
    return fresh;
  }
  static void Free(Entry* entry) {
    entry->begin = entry->end = 0;
    entry->used = false;
  }
  // For handlers: follow `next`.
  const Entry* newest() const noexcept { return newest_; }

 private:
  std::mutex mutex_;
  std::atomic<Entry*> newest_ = nullptr;
};

}  // namespace intarsia
