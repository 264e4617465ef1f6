// The selective scan of Mamba-1, forward, against the recurrence in double.
#include "intarsia/mixers/mamba/sm90_selective_scan_bench.h"

namespace intarsia::bench {
namespace {

constexpr int kN = kScanStateDim;

struct Problem {
  Problem(const ScanShape& s, uint64_t seed) : base(s, seed) {
    out = Bf16Buffer(base.x.size());
    base.SetInputs(&args);
    args.out = out.data();
    args.out_stride = s.channels;
    args.slot_stride = int64_t{s.channels} * kN;
    // In place on the states, in slots of reverse order.
    if (!s.state) return;
    const int64_t count = args.slot_stride;
    const int sequences = args.sequences;
    states = FloatBuffer(base.state.size());
    std::vector<int32_t> order;
    for (int i = 0; i < sequences; ++i) {
      order.push_back(sequences - 1 - i);
      Ensure(cudaMemcpy(states.data() + order.back() * count,
                        base.state.data() + i * count, count * sizeof(float),
                        cudaMemcpyDeviceToDevice),
             "copy on the GPU");
    }
    slots = DeviceBuffer<int32_t>(order);
    args.state = states.data();
    args.slots = slots.data();
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90SelectiveScan(args, stream), "selective scan");
  }
  ScanProblem base;
  Sm90SelectiveScanArgs args;
  Bf16Buffer out;
  FloatBuffer states;
  DeviceBuffer<int32_t> slots;
};

std::vector<OutputError> Compare(const Problem& p) {
  p.Launch(nullptr);
  const ScanShape& s = p.base.shape;
  ErrorNorm out_error, state_error;
  for (const ScanPart& part : ScanParts(p.base)) {
    const std::vector<float> out = part.Gather(p.out);
    std::vector<float> state;
    if (s.state) {
      state = Rows(p.states.data() +
                       part.state_offset(p.args.sequences - 1 - part.sequence),
                   1, 0, part.channels * kN);
    }
    for (int c = 0; c < part.channels; ++c) {
      const std::vector<double> h = part.States(c);
      for (int t = 0; t < part.length; ++t) {
        const size_t at = size_t(t) * part.channels + c;
        const double y = part.Output(t, c, h);
        out_error.Add(out[at], s.z ? y * Silu(part.z[at]) : y);
      }
      for (int n = 0; s.state && n < kN; ++n) {
        state_error.Add(state[c * kN + n], h[size_t(part.length) * kN + n]);
      }
    }
  }
  std::vector<OutputError> errors = {out_error.Relative("out", 3e-3)};
  if (s.state) errors.push_back(state_error.Relative("state", 1e-5));
  return errors;
}

}  // namespace

std::vector<GpuCase> sm90_selective_scan(bool quick) {
  std::vector<GpuCase> cases;
  for (const ScanShape& s : ScanShape::All(quick)) {
    if (!s.softplus) continue;
    GpuCase c;
    c.name = "mamba.sm90.selective_scan";
    c.shape = s.Name();
    c.bytes = (s.z ? 8.0 : 6.0) * static_cast<double>(s.tokens()) * s.channels;
    c.use = s.use;
    c.prepare = PrepareWith<Problem>(s, &Compare);
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace intarsia::bench
