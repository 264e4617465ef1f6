// Quantising a model, tensor by tensor, into a GGUF file.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "intarsia/convert/gguf_model.h"
#include "intarsia/convert/imatrix.h"
#include "intarsia/convert/quant_mix.h"
#include "intarsia/core/status.h"

namespace intarsia {

struct QuantizeOptions {
  const QuantMix* mix = nullptr;
  MixOverrides overrides = {};
  // Tensors that are quantised already lose twice; refused unless allowed.
  bool allow_requantize = false;
  const ImportanceMatrix* importance = nullptr;
  uint64_t max_part_bytes = 0;  // split the file; 0: one file
  int threads = 0;              // 0: all
};

// What happens to one tensor.
struct QuantizedTensor {
  std::string name;
  Shape shape;
  std::string from, to;  // encodings
  std::string wanted;    // where the row does not fit what the mix says
  bool importance = false;
  uint64_t bytes_before = 0, bytes_after = 0;
};

// The plan, without reading a weight. Messages name the tensor.
Result<std::vector<QuantizedTensor>> PlanQuantization(
    const GgufModel& model, const QuantizeOptions& options);

// Carries the plan out, a tensor at a time; memory holds one. `progress` is
// told the tensor that was begun and the bytes of all before it. Returns the
// files' paths.
using QuantizeProgress =
    std::function<void(const QuantizedTensor& tensor, uint64_t bytes_done)>;
Result<std::vector<std::string>> Quantize(
    const GgufModel& model, const std::vector<QuantizedTensor>& plan,
    const QuantizeOptions& options, const std::string& path,
    const QuantizeProgress& progress);

}  // namespace intarsia
