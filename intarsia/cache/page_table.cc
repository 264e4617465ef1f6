#include "intarsia/cache/page_table.h"

#include <algorithm>

namespace intarsia {

PageTable::PageTable(int64_t slots, int64_t width, Device device)
    : width_(width),
      sent_(static_cast<size_t>(slots * width), 0),
      device_(Tensor::Zeros({slots, width}, DType::kI32, device)) {}

void PageTable::Update(int64_t slot, std::span<const int32_t> pages) {
  CHECK_LE(static_cast<int64_t>(pages.size()), width_);
  int32_t* row = sent_.data() + slot * width_;
  size_t begin = pages.size(), end = 0;
  for (size_t p = 0; p < pages.size(); ++p) {
    if (pages[p] < 0 || pages[p] == row[p]) continue;
    row[p] = pages[p];
    begin = std::min(begin, p);
    end = p + 1;
  }
  if (begin >= end) return;
  const size_t bytes = (end - begin) * sizeof(int32_t);
  const size_t at = static_cast<size_t>(slot * width_) + begin;
  Backend(device_.device())
      .CopyToDevice(device_.mutable_raw() + at * sizeof(int32_t), row + begin,
                    bytes, nullptr);
  uploaded_ += static_cast<int64_t>(bytes);
}

}  // namespace intarsia
