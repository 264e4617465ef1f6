// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/ops/rows/rows.h"

namespace intarsia::rows_cuda {

struct Kernels {
  // As GatherRows, without the tape. Uploads the rows, so it cannot be part of
  // a recorded graph.
  Tensor (*gather)(Context& ctx, const Tensor& x,
                   std::span<const int32_t> rows);
};
extern const Kernels* kernels;

}  // namespace intarsia::rows_cuda
