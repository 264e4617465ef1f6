// CPU kernels of the recurrence, for rg_lru_vjp.cc alone. All arrays are fp32
// and contiguous.
#pragma once

#include <cstdint>

#include "intarsia/core/batch.h"

namespace intarsia::rg_lru {

// Channels of one task.
inline constexpr int64_t kBlock = 64;

struct Args {
  int64_t channels = 0;
  const float *x = nullptr, *r = nullptr, *g = nullptr;                // [T, I]
  const float *param = nullptr, *r_bias = nullptr, *g_bias = nullptr;  // [I]
};

// Channels [c0, c1), at most kBlock, of all sequences. Fills h [T, I]; `states`
// [slots, I] or null as in rg_lru.h.
void Recur(const Batch& batch, const Args& args, int64_t c0, int64_t c1,
           float* states, float* h);

// Given h of Recur and dh [T, I], gradients of everything, of these channels.
struct Gradients {
  const float *h = nullptr, *dh = nullptr;
  float *x = nullptr, *r = nullptr, *g = nullptr;
  float *param = nullptr, *r_bias = nullptr, *g_bias = nullptr;
};
void RecurBackward(const Batch& batch, const Args& args, int64_t c0, int64_t c1,
                   const Gradients& gradients);

}  // namespace intarsia::rg_lru
