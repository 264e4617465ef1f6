// Problems for the checks and timings of the selective scan, forward and
// backward, and the recurrence in double for a part of their channels.
#pragma once

#include <string>
#include <vector>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/mixers/mamba/sm90_selective_scan.h"

namespace intarsia::bench {

constexpr int kScanStateDim = 16;

struct ScanShape {
  std::vector<int> lengths;
  int channels;
  bool z, state;
  bool softplus = true;
  GpuCase::Use use = GpuCase::Use::kChecked;

  // "B8 T4096 D4096 z", or what is irregular about it.
  std::string Name() const;
  int64_t tokens() const;
  int64_t longest() const;
  // All, or few shapes if quick.
  static std::vector<ScanShape> All(bool quick);
};

// Steps from 0.001 to 1 and more, A of both slow and fast decays.
struct ScanProblem {
  ScanProblem(const ScanShape& s, uint64_t seed);
  // Everything but states, which the two directions keep differently.
  void SetInputs(Sm90SelectiveScanInputs* args) const;

  ScanShape shape;
  std::vector<int32_t> cu{0};
  Bf16Buffer x, dt, z, b, c;
  FloatBuffer a, d, bias, state;  // states in the order of sequences
  DeviceBuffer<int32_t> cu_device;
};

// Some adjacent channels of one sequence, on the host.
struct ScanPart {
  ScanPart(const ScanProblem& problem, int sequence, int first, int channels);
  // Of another tensor [tokens, channels] or [sequences, channels, 16].
  std::vector<float> Gather(const Bf16Buffer& tensor) const;
  std::vector<float> GatherState(const FloatBuffer& states) const;
  int64_t state_offset(int slot) const;

  // The states before the first token and after each one, of one channel.
  std::vector<double> States(int channel) const;
  double Step(int token, int channel) const;
  // sum_n C h + D x
  double Output(int token, int channel, const std::vector<double>& h) const;

  const ScanProblem& problem;
  int sequence, first, channels, begin, length;
  std::vector<float> x, dt, z;           // [length][channels]
  std::vector<float> b, c;               // [length][16]
  std::vector<float> a, d, bias, state;  // [channels], [channels][16]
};

// All of small problems, else parts that span the whole.
bool IsComplete(const ScanShape& shape);
std::vector<ScanPart> ScanParts(const ScanProblem& problem);

}  // namespace intarsia::bench
