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
  const LazyTensor* source = nullptr;
  const Encoding* encoding = nullptr;
  Shape shape = {};
  uint64_t bytes = 0;
};

// Tensors that are there already, as ones that are made when they are written.
std::vector<LazyTensor> Lazily(std::span<const NamedTensor> tensors);

// Items of `tensors`, in order. `where` begins the messages ("[gguf] a.gguf:
// ").
Result<std::vector<WriteItem>> ToWriteItems(std::span<const LazyTensor> tensors,
                                            const std::string& where);

// Makes the item's values and writes them, contiguous and from the host.
Status WriteValues(const WriteItem& item, const std::string& where,
                   AtomicFile* file);

}  // namespace intarsia
