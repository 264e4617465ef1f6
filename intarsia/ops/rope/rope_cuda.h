// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/ops/rope/rope.h"

namespace intarsia::rope_cuda {

struct Kernels {
  // As Rope, without the tape, in fp32 or bf16; `inverse` turns back. x
  // contiguous; ctx.batch is uploaded.
  Tensor (*rope)(Context& ctx, const Tensor& x, const RopeConfig& config,
                 bool inverse);
};
extern const Kernels* kernels;

}  // namespace intarsia::rope_cuda
