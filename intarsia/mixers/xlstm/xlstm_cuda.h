// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/mixers/xlstm/xlstm.h"

namespace intarsia::xlstm_cuda {

// As in xlstm.h, fp32 and contiguous, without the tape.
struct Kernels {
  XlstmGates (*open)(Context& ctx, const Tensor& i, const Tensor& f,
                     const Tensor& v, float eps, Tensor* m);
  Tensor (*divide)(Context& ctx, const Tensor& sums, const Tensor& floor);
};
extern const Kernels* kernels;

}  // namespace intarsia::xlstm_cuda
