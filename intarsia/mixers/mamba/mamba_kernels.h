// CPU kernels of the selective scan, for mamba_vjp.cc alone. All arrays are
// fp32 and contiguous.
#pragma once

#include <cstdint>

#include "intarsia/core/batch.h"

namespace intarsia::mamba {

// Channels of one task.
inline constexpr int64_t kBlock = 32;

struct Args {
  int64_t channels = 0, states = 0;
  const float *x = nullptr, *dt = nullptr;       // [T, I]
  const float *b = nullptr, *c = nullptr;        // [T, N]
  const float* z = nullptr;                      // [T, I] or null
  const float* a_log = nullptr;                  // [I, N]
  const float *d = nullptr, *dt_bias = nullptr;  // [I]
};

// Channels [c0, c1), at most kBlock, of all sequences. Fills y [T, I];
// `states` [slots, I, N] or null as in mamba.h.
void Scan(const Batch& batch, const Args& args, int64_t c0, int64_t c1,
          float* states, float* y);

// Given dy [T, I]: gradients of x, dt, z (null without z), and of these
// channels' a_log [I, N], d and dt_bias [I]. db and dc [T, N] get the sums over
// the channels [c0, c1).
struct Gradients {
  const float* y = nullptr;
  float *x = nullptr, *dt = nullptr, *z = nullptr;
  float *b = nullptr, *c = nullptr;
  float *a_log = nullptr, *d = nullptr, *dt_bias = nullptr;
};
void ScanBackward(const Batch& batch, const Args& args, int64_t c0, int64_t c1,
                  const Gradients& gradients);

}  // namespace intarsia::mamba
