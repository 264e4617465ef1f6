// CPU kernels of the gated linear core, for gated_linear.cc alone. All arrays
// are fp32 and contiguous.
#pragma once

#include <cstdint>
#include <span>

#include "intarsia/mixers/common/gated_linear.h"

namespace intarsia::gated_linear {

struct Args {
  int64_t heads = 0, groups = 0, key_dim = 0, value_dim = 0;
  float scale = 1.0f;
  bool value_major = false;
  const float* q = nullptr;  // [T, G, K]
  const float* k = nullptr;
  const float* v = nullptr;  // [T, H, V]
  const float* a = nullptr;  // row t, head h at a[t * a_stride + h]
  int64_t a_stride = 0;      // H, or 0 when the decay never changes

  int64_t state_size() const { return key_dim * value_dim; }
};

// Heads [h0, h1), all of one group, over one segment's chunks. state_in and
// state_out point at the segment's [H, ...] states and may be equal; state_in
// may be null. Writes out [T, H, V], state_out and, unless null, decay [H].
void Forward(const Args& args, std::span<const GatedLinearPlan::Chunk> chunks,
             int64_t h0, int64_t h1, const float* state_in, float* state_out,
             float* out, float* decay);

// Gradients of the results, each null for zero, and of the inputs. dq and dk
// are per head, [T, H, K]: heads of a group are added by the caller.
struct Gradients {
  const float* out = nullptr;    // [T, H, V]
  const float* state = nullptr;  // [H, ...] of this segment
  const float* decay = nullptr;  // [H] of this segment
  float* q = nullptr;
  float* k = nullptr;
  float* v = nullptr;         // [T, H, V]
  float* a = nullptr;         // [T, H]
  float* state_in = nullptr;  // [H, ...] of this segment, or null
};

// Head h of one segment: runs the states forward, then the chunks backward.
void Backward(const Args& args, std::span<const GatedLinearPlan::Chunk> chunks,
              int64_t h, const float* state_in, const Gradients& gradients);

}  // namespace intarsia::gated_linear
