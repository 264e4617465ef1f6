// Linear recurrence whose state fades by channel and loses what a key reads:
// the core of delta rules, GLA and RWKV. README.md beside this file ("Delta
// rule core") has the forms, their gradients and the numerics.
#pragma once

#include <vector>

#include "intarsia/core/context.h"

namespace intarsia {

// Shapes: T tokens of N segments end to end; H heads; G groups of H/G
// consecutive heads that share q and k; K key and V value channels.
struct DeltaRuleInputs {
  Tensor q, k;       // [T, G, K]
  Tensor v;          // [T, H, V]: what is written along k
  Tensor erase;      // e [T, H, K]; undefined: nothing is erased
  Tensor removal;    // x [T, H, K]; undefined: k
  Tensor log_decay;  // g ≤ 0 [T, H, K] or [T, H]; undefined: nothing fades
};

struct DeltaRuleOptions {
  float scale = 1.0f;   // of the outputs
  int chunk = 64;       // rows of a chunk, unless ctx.chunk says otherwise
  bool before = false;  // o_t reads the state before token t: S_{t−1}
  bool erase_before = false;  // what is erased is read there too: e_t S_{t−1}
};

struct DeltaRuleResult {
  Tensor out;    // [T, H, V]
  Tensor state;  // [N, H, K, V]: S after each segment
};
inline std::vector<Tensor*> TapeOutputs(DeltaRuleResult* result) {
  return {&result->out, &result->state};
}

// For each head, in fp32,
//   S' = Diag(exp(g_t)) S_{t−1}
//   S_t = S' + k_tᵀ v_t − x_tᵀ (e_t S')
//   o_t = scale · q_t S_t      (before: scale · q_t S_{t−1})
// erase_before: e_t S_{t−1} in place of e_t S'.
// state_in: [N, H, K, V] or undefined for zero. Differentiable in all inputs
// and state_in.
DeltaRuleResult DeltaRule(Context& ctx, const DeltaRuleInputs& inputs,
                          const Tensor& state_in,
                          const DeltaRuleOptions& options);

// The same on a pool of states [slots, H, K, V], segment n's at
// ctx.batch->slots[n], updated in place. Not differentiable. Returns out.
Tensor DeltaRuleInPlace(Context& ctx, const DeltaRuleInputs& inputs,
                        Tensor* states, const DeltaRuleOptions& options);

// The recurrence in double by plain loops, all arrays by head and row-major:
// q, k, erase, removal, log_decay [T, H, K], v [T, H, V]. erase may be empty.
// state [N, H, K, V] is read and updated, null for zero.
struct DeltaRuleReferenceInputs {
  int64_t heads = 0, key_dim = 0, value_dim = 0;
  double scale = 1.0;
  bool before = false, erase_before = false;
  std::vector<double> q, k, v, erase, removal, log_decay;
};
std::vector<double> DeltaRuleReference(const Batch& batch,
                                       const DeltaRuleReferenceInputs& inputs,
                                       std::vector<double>* state = nullptr);

// [T, G, C] as the H heads see it: [T, H, C].
std::vector<double> RepeatGroups(const std::vector<double>& x, int64_t groups,
                                 int64_t heads, int64_t channels);

}  // namespace intarsia
