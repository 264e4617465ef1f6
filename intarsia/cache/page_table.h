// PageTable: the page numbers of all slots on a device, where kernels read
// them. Only what changed since a row's last upload is sent.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "intarsia/core/tensor.h"

namespace intarsia {

class PageTable {
 public:
  PageTable(int64_t slots, int64_t width, Device device);

  // Sends the entries of the slot's row that differ from what the device has,
  // in one piece. A page that was given back (-1) keeps its number there: no
  // kernel reads it. Pages past the end of `pages` are left alone.
  void Update(int64_t slot, std::span<const int32_t> pages);

  // i32 [slots, width]; the same memory as long as this lives, so recorded
  // graphs may keep pointers to it.
  const Tensor& device() const { return device_; }
  int64_t uploaded_bytes() const { return uploaded_; }

 private:
  int64_t width_;
  std::vector<int32_t> sent_;  // what the device has
  Tensor device_;
  int64_t uploaded_ = 0;
};

}  // namespace intarsia
