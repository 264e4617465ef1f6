// A tensor on its way into a file: checked, with its encoding.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/checkpoint/encoding.h"
#include "intarsia/checkpoint/write.h"

namespace intarsia {

struct WriteItem {
  const NamedTensor* source = nullptr;
  const Encoding* encoding = nullptr;
  Shape shape = {};
  uint64_t bytes = 0;
};

// Items of `tensors`, in order. `where` begins the messages ("[gguf] a.gguf:
// ").
Result<std::vector<WriteItem>> ToWriteItems(
    std::span<const NamedTensor> tensors, const std::string& where);

// Writes the item's values, contiguous and from the host.
Status WriteValues(const WriteItem& item, AtomicFile* file);

}  // namespace intarsia
