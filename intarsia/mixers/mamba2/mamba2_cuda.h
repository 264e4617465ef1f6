// CUDA kernels of the room; null in a build without them.
#pragma once

#include <functional>

#include "intarsia/mixers/mamba2/mamba2.h"

namespace intarsia::mamba2_cuda {

// The recurrence with its steps and skip connection, from raw inputs, fp32 or
// bf16 and contiguous: raw [T, H], x [T, H, P], b, c [T, G, N].
struct Recurrence {
  Tensor raw, x, b, c;
  const Weight &dt_bias, &a_log, &d;
  float dt_min, dt_max;
  Tensor* state;  // [slots, H, P, N], moved on; null: from zero, not kept
  std::function<Tensor()> composed;  // the same by the ops
  Tensor y;                          // [T, H, P], as x is
};

// A decoding step from the projections, bf16 with dense rows: convolutions,
// recurrence and, with z, gate. x, z [T, I], b, c [T, G·N], raw [T, H].
struct Step {
  Tensor x, b, c, raw, z;  // z undefined: no gate
  const Weight &conv_x, &conv_b, &conv_c;
  const Weight *bias_x, *bias_b, *bias_c;  // or null
  bool silu;                               // the convolutions' activation
  const Weight &dt_bias, &a_log, &d;
  float dt_min, dt_max;
  int64_t head_dim, state_dim;
  Tensor *state_x, *state_b, *state_c, *ssm;
  Tensor y;  // [T, I]: y, or y ⊙ silu(z)
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
  // Fills call.y in two launches; false where the shapes or the batch are not
  // such.
  bool (*step)(Context& ctx, Step& call);
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
