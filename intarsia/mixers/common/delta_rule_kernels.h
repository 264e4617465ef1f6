// CPU kernels of the delta rule core, for delta_rule.cc alone. All arrays are
// fp32 and contiguous.
#pragma once

#include <cstdint>
#include <span>

#include "intarsia/mixers/common/gated_linear.h"

namespace intarsia::delta_rule {

struct Args {
  int64_t heads = 0, groups = 0, key_dim = 0, value_dim = 0;
  float scale = 1.0f;
  bool before = false, erase_before = false;
  const float* q = nullptr;        // [T, G, K]
  const float* k = nullptr;        // [T, G, K]
  const float* v = nullptr;        // [T, H, V]
  const float* erase = nullptr;    // [T, H, K] or null
  const float* removal = nullptr;  // [T, H, K] or null for k
  const float* decay = nullptr;    // log: [T, H, decay_dim] or null
  int64_t decay_dim = 0;           // K, or 1

  int64_t state_size() const { return key_dim * value_dim; }
};

// Head h over one segment's chunks. state_in and state_out are the head's
// [K, V] and may be equal; state_in may be null. Writes out [T, H, V] and
// state_out.
void Forward(const Args& args, std::span<const GatedLinearPlan::Chunk> chunks,
             int64_t h, const float* state_in, float* state_out, float* out);

// Gradients of the results, each null for zero, and of the inputs, all per
// head: [T, H, ...]; null where there is no such input. The caller adds the
// heads of a group.
struct Gradients {
  const float* out = nullptr;    // [T, H, V]
  const float* state = nullptr;  // [K, V] of this head
  float* q = nullptr;
  float* k = nullptr;
  float* v = nullptr;
  float* erase = nullptr;
  float* removal = nullptr;
  float* decay = nullptr;     // [T, H, decay_dim]
  float* state_in = nullptr;  // [K, V] of this head, or null
};

void Backward(const Args& args, std::span<const GatedLinearPlan::Chunk> chunks,
              int64_t h, const float* state_in, const Gradients& gradients);

}  // namespace intarsia::delta_rule
