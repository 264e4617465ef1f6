// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/mixers/mamba/mamba.h"

namespace intarsia::mamba_cuda {

struct Kernels {
  // SelectiveScan in fp32, without the tape, by the first kernel that can; with
  // ctx.dtype = kBF16 by the tuned one.
  Tensor (*scan)(Context& ctx, const SelectiveScanInputs& in, Tensor* states);
};
extern const Kernels* kernels;

}  // namespace intarsia::mamba_cuda
