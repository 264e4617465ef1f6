// Gated linear core: linear attention whose state fades by a scalar per head
// and token. Retention and Mamba-2 are thin rooms over it. README.md beside
// this file has the forms, their gradients and the numerics.
#pragma once

#include <cstdint>
#include <vector>

#include "intarsia/core/context.h"

namespace intarsia {

// Shapes: T tokens of N segments end to end; H heads; G groups of H/G
// consecutive heads that share q and k; K key and V value channels.
struct GatedLinearOptions {
  float scale = 1.0f;  // of the outputs
  int chunk = 64;      // rows of a chunk, unless ctx.chunk says otherwise
  // Layout of the state: [H, V, K] (Mamba-2) instead of [H, K, V].
  bool value_major = false;
};

// [T, H·C] as [T, H, C].
Tensor SplitHeads(Context& ctx, const Tensor& x, int64_t channels);

struct GatedLinearResult {
  Tensor out;    // [T, H, V]
  Tensor state;  // [N, H, K, V] or [N, H, V, K]: S after each segment
  Tensor decay;  // [N, H]: what each segment scaled its incoming state by
};
inline std::vector<Tensor*> TapeOutputs(GatedLinearResult* result) {
  return {&result->out, &result->state, &result->decay};
}

// S_t = exp(a_t) S_{t−1} + k_tᵀ v_t and o_t = scale · q_t S_t for each head, in
// fp32. q, k: [T, G, K]. v: [T, H, V]. log_decay a ≤ 0: [T, H], or [H] when it
// never changes. state_in: [N, H, ...] or undefined for zero. A segment without
// rows returns its state and the decay 1. Differentiable in all five.
GatedLinearResult GatedLinear(Context& ctx, const Tensor& q, const Tensor& k,
                              const Tensor& v, const Tensor& log_decay,
                              const Tensor& state_in,
                              const GatedLinearOptions& options);

// The same on a pool of states [slots, H, ...], segment n's at
// ctx.batch->slots[n], updated in place. Returns out. On a tape segment n's is
// row n, and *states becomes a tensor of its own, so that gradients flow
// through it from one batch into the one before; where training is to cut them,
// it goes on from a copy that the tape doesn't know.
Tensor GatedLinearInPlace(Context& ctx, const Tensor& q, const Tensor& k,
                          const Tensor& v, const Tensor& log_decay,
                          Tensor* states, const GatedLinearOptions& options);

// How a batch is cut. Chunk c holds the rows of one segment whose positions lie
// in [i·chunk, (i+1)·chunk), so the grid is that of absolute positions and does
// not move with the way a prefill is split.
struct GatedLinearPlan {
  struct Chunk {
    int32_t begin, end;  // rows of the batch
  };
  std::vector<Chunk> chunks;
  std::vector<int32_t> first;  // [N+1]: chunks of segment n
  int32_t longest = 0;         // rows of the largest chunk
};
// kRecurrent: every row a chunk. kParallel: every segment one chunk.
GatedLinearPlan PlanGatedLinear(const Batch& batch, Form form, int chunk);

// The recurrence in double by plain loops. q, k [T, G, K], v [T, H, V], a
// [T, H] row-major; state [N, H, K, V] is read and updated, null for zero.
struct GatedLinearDims {
  int64_t heads = 0, groups = 0, key_dim = 0, value_dim = 0;
};
std::vector<double> GatedLinearReference(
    const Batch& batch, const GatedLinearDims& dims, double scale,
    const std::vector<double>& q, const std::vector<double>& k,
    const std::vector<double>& v, const std::vector<double>& a,
    std::vector<double>* state);

}  // namespace intarsia
