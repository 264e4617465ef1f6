// CUDA kernels of the room; null in a build without them.
#pragma once

#include <functional>

#include "intarsia/mixers/mamba2/mamba2.h"

namespace intarsia::mamba2_cuda {

// The recurrence with its steps and skip connection, from raw inputs, fp32 and
// contiguous: raw [T, H], x [T, H, P], b, c [T, G, N].
struct Recurrence {
  Tensor raw, x, b, c;
  const Weight &dt_bias, &a_log, &d;
  float dt_min, dt_max;
  Tensor* state;  // [slots, H, P, N], moved on; null: from zero, not kept
  std::function<Tensor()> composed;  // the same by the ops
  Tensor y;                          // [T, H, P]
};

// Without the tape, fp32; all tensors contiguous.
struct Kernels {
  // As in mamba2.h.
  Mamba2Steps (*discretize)(Context& ctx, const Tensor& raw, const Tensor& x,
                            const Weight& dt_bias, const Weight& a_log,
                            float dt_min, float dt_max);
  Tensor (*add_skip)(Context& ctx, const Tensor& y, const Tensor& x,
                     const Weight& d);
  // Fills call.y by the first kernel that can; with ctx.dtype = kBF16 by tensor
  // cores.
  void (*recurrence)(Context& ctx, Recurrence& call);
  // From the gradients of log_decay and value (undefined or contiguous) to
  // those of raw and x, and the terms of A_log's [T, H].
  std::vector<Tensor> (*discretize_gradients)(Context& ctx, const Tensor& raw,
                                              const Tensor& x,
                                              const Weight& dt_bias,
                                              const Weight& a_log, float dt_min,
                                              float dt_max, const Tensor& decay,
                                              const Tensor& value);
  // Σ_p a b [T, H] of a, b [T, H, P]; x times d [H] by head; columns of [T, H].
  Tensor (*dots)(Context& ctx, const Tensor& a, const Tensor& b);
  Tensor (*scale_heads)(Context& ctx, const Tensor& x, const Weight& d);
  Tensor (*sum_rows)(Context& ctx, const Tensor& x);
};
extern const Kernels* kernels;

}  // namespace intarsia::mamba2_cuda
