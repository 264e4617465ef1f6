// A problem for the SSD kernels: fresh inputs, their copy on the device, and
// the fp64 recurrence of sm90_ssd_forward.h with its gradients.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/kernels/gpu/driver.h"
#include "intarsia/mixers/mamba2/sm90_ssd_forward.h"

namespace intarsia::bench {

struct SsdShape {
  std::vector<int> lengths;
  int heads = 4, groups = 1, state_dim = 128;
  // Decay of a step: exp(-d a) with d around 0.01 to 0.1 and a from `slow` to
  // `fast`.
  float slow = 1, fast = 16;
  bool state = true;      // initial state in, final state out
  bool extras = true;     // D, dt_bias and softplus
  bool poisoned = false;  // NaN in x, b, c of the second sequence

  std::string Name() const;
};

struct SsdInputs {
  std::vector<float> x, dt, b, c, a, d, bias, state, dy, dstate;
  std::vector<int32_t> cu;
};

struct SsdOutputs {
  std::vector<double> y, state;
  std::vector<double> dx, ddt, db, dc, da, dd, dbias, dstate;
};

class SsdProblem {
 public:
  static constexpr int kHeadDim = 64;

  SsdProblem(const SsdShape& shape, uint64_t seed);

  // By the recurrence, a token at a time; gradients only if asked for.
  SsdOutputs Reference(bool gradients) const;

  SsdShape shape;
  SsdInputs in;
  Sm90SsdForwardArgs args;  // all but the outputs' contents is ready
  DeviceBuffer<__nv_bfloat16> x, b, c, y, dy;
  DeviceBuffer<float> dt, a, d, bias, initial, final_state, dstate;
  DeviceBuffer<int32_t> cu;
  DeviceBuffer<uint8_t> workspace;

 private:
  void OneHead(int sequence, int head, bool gradients, SsdOutputs* out) const;
};

}  // namespace intarsia::bench
