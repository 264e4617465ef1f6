// CUDA kernels of token_mix.h, without the tape, fp32, all contiguous; null in
// a build without them.
#pragma once

#include "intarsia/mixers/common/token_mix.h"

namespace intarsia::token_mix_cuda {

struct Kernels {
  Tensor (*shift)(Context& ctx, const Tensor& x, Tensor* state);
  Tensor (*add_weighted)(Context& ctx, const Tensor& base, const Tensor& y,
                         const Weight& weight);
  Tensor (*negative_exp)(Context& ctx, const Tensor& x);
  Tensor (*add_bonus)(Context& ctx, const Tensor& base, const Tensor& r,
                      const Tensor& k, const Tensor& v, const Weight& u);
};
extern const Kernels* kernels;

}  // namespace intarsia::token_mix_cuda
