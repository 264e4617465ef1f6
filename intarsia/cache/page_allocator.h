// PageAllocator: who holds which page of a pool. It knows numbers alone, no
// memory. Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

namespace intarsia {

class PageAllocator {
 public:
  explicit PageAllocator(int32_t pages);

  int32_t pages() const { return static_cast<int32_t>(holders_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  // The most pages that were held at one time.
  int32_t most_held() const { return most_held_; }
  int32_t holders(int32_t page) const { return holders_.at(page); }

  // A page with one holder, or -1 when none is free.
  int32_t Allocate();
  // One more holder of a page that somebody holds.
  void Share(int32_t page);
  // One holder fewer. The last one frees the page.
  void Release(int32_t page);
  // Copy on write. For a holder that wants to write: `page` where nobody else
  // holds it, else a new page that takes the place of this hold; the caller
  // copies what is in it. -1, and nothing changed, when none is free.
  int32_t Writable(int32_t page);

 private:
  std::vector<int32_t> holders_;  // by page
  std::vector<int32_t> free_;     // a stack: the last one freed goes first
  int32_t most_held_ = 0;
};

}  // namespace intarsia
