// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/mixers/rwkv4/rwkv4.h"

namespace intarsia::rwkv4_cuda {

struct Kernels {
  // As Wkv, without the tape, fp32, contiguous.
  Tensor (*wkv)(Context& ctx, const Tensor& k, const Tensor& v,
                const Weight& decay, const Weight& bonus,
                const WkvStates* states);
};
extern const Kernels* kernels;

}  // namespace intarsia::rwkv4_cuda
