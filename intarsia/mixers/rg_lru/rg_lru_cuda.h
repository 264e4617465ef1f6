// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/mixers/rg_lru/rg_lru.h"

namespace intarsia::rg_lru_cuda {

struct Kernels {
  // RgLruCore in fp32, without the tape.
  Tensor (*recur)(Context& ctx, const RgLruInputs& in, Tensor* states);
};
extern const Kernels* kernels;

}  // namespace intarsia::rg_lru_cuda
