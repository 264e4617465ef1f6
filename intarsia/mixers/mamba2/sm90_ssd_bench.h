// Problems for the checks and timings of the SSD kernels, and the recurrence
// of sm90_ssd_forward.h in double, with its gradients, for single heads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/mixers/mamba2/sm90_ssd_backward.h"
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
  GpuCase::Use use = GpuCase::Use::kChecked;

  std::string Name() const;
  int64_t tokens() const;
};

// Inputs and outputs, forward, and the inputs of the backward pass.
struct SsdProblem {
  static constexpr int kHeadDim = 64;

  SsdProblem(const SsdShape& shape, uint64_t seed);

  SsdShape shape;
  std::vector<int32_t> cu{0};
  Sm90SsdForwardArgs args;
  Bf16Buffer x, b, c, y, dy;
  FloatBuffer dt, a, d, bias, initial, final_state, dstate;
  DeviceBuffer<int32_t> cu_device;
  DeviceBuffer<uint8_t> workspace;
};

// One head of one sequence on the host, and what the recurrence gives for it.
class SsdHead {
 public:
  SsdHead(const SsdProblem& problem, int sequence, int head);
  // Fills y and final_state; with gradients everything.
  void Run(bool gradients);

  // Of another tensor [tokens, heads, 64], [tokens, heads], [tokens, groups,
  // state_dim] or [sequences, heads, 64, state_dim].
  std::vector<float> Narrow(const Bf16Buffer& tensor) const;
  std::vector<float> Steps(const FloatBuffer& tensor) const;
  std::vector<float> Wide(const Bf16Buffer& tensor) const;
  std::vector<float> State(const FloatBuffer& states) const;

  const SsdProblem& problem;
  const int sequence, head, group, begin, length;
  std::vector<double> y, final_state;
  // db and dc are this head's part of its group's.
  std::vector<double> dx, ddt, db, dc, dstate;
  double da = 0, dd = 0, dbias = 0;

 private:
  struct Step {
    double d, slope;
  };
  Step StepOf(int t) const;
  void Advance(int t, std::vector<double>* state) const;
  void Backward(const std::vector<std::vector<double>>& kept);
  // One token, given the states before and after it; r becomes the gradient of
  // the former.
  void BackwardToken(int t, const std::vector<double>& before,
                     const std::vector<double>& after, std::vector<double>* r);

  std::vector<float> x_, b_, c_, dt_, dy_;
  float a_, d_, bias_;
};

}  // namespace intarsia::bench
