// A model on its way into a GGUF file: metadata and tensors that are made when
// they are written. Quantising and converting work on it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"

namespace intarsia {

struct GgufModel {
  GgufEntries metadata;
  std::vector<LazyTensor> tensors;
  std::vector<std::string> warnings = {};
  std::vector<std::string> losses = {};  // what GGUF does not keep

  // A metadata value, or `fallback`; integers of all widths, of lists by layer
  // the first.
  std::string Text(const std::string& key) const;
  int64_t Integer(const std::string& key, int64_t fallback) const;
  void Set(const std::string& key, GgufValue value);
};

// A GGUF file as it is; a folder of Hugging Face with GGUF's names and metadata
// (to_gguf.h). The checkpoint must outlive the model.
Result<GgufModel> ToGgufModel(const Checkpoint& checkpoint);

}  // namespace intarsia
