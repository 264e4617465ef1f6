// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/ops/embedding/embedding.h"

namespace intarsia::embedding_cuda {

struct Kernels {
  // Rows of the table by the uploaded ids (i32 [T] on the device), in
  // ctx.dtype.
  Tensor (*embedding)(Context& ctx, const Weight& table, const Tensor& ids);
  // Of the table, in fp32: row t of g [T, D] goes to row ids[t].
  Tensor (*gradient)(Context& ctx, const Weight& table, const Tensor& g,
                     const Tensor& ids);
};
extern const Kernels* kernels;

}  // namespace intarsia::embedding_cuda
