#include "intarsia/cache/page_allocator.h"

#include <algorithm>

#include "intarsia/core/check.h"

namespace intarsia {

PageAllocator::PageAllocator(int32_t pages) : holders_(pages, 0) {
  free_.reserve(pages);
  for (int32_t page = pages - 1; page >= 0; --page) free_.push_back(page);
}

int32_t PageAllocator::Allocate() {
  if (free_.empty()) return -1;
  const int32_t page = free_.back();
  free_.pop_back();
  holders_[page] = 1;
  most_held_ = std::max(most_held_, pages() - free());
  return page;
}

void PageAllocator::Share(int32_t page) {
  CHECK_GT(holders(page), 0) << "page " << page << " is free";
  ++holders_[page];
}

void PageAllocator::Release(int32_t page) {
  CHECK_GT(holders(page), 0) << "page " << page << " is free";
  if (--holders_[page] == 0) free_.push_back(page);
}

int32_t PageAllocator::Writable(int32_t page) {
  CHECK_GT(holders(page), 0) << "page " << page << " is free";
  if (holders(page) == 1) return page;
  const int32_t copy = Allocate();
  if (copy >= 0) --holders_[page];
  return copy;
}

}  // namespace intarsia
