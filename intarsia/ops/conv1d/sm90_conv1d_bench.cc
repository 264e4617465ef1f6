// Causal depthwise convolution over packed sequences.
#include "intarsia/ops/conv1d/sm90_conv1d.h"

#include <algorithm>

#include "intarsia/cuda/bench/device_data.h"

namespace intarsia::bench {
namespace {

struct Shape {
  std::vector<int> lengths;
  int channels, width;
  bool bias, silu, state;
  GpuCase::Use use = GpuCase::Use::kChecked;
};

// States are [slot, tap, channel] here, in slots of reverse order.
struct Problem {
  Problem(const Shape& s, uint64_t seed) : shape(s) {
    for (const int length : s.lengths) cu.push_back(cu.back() + length);
    const int sequences = static_cast<int>(s.lengths.size());
    const int taps = s.width - 1;
    seed *= 4;
    x = NormalBuffer<__nv_bfloat16>(size_t(cu.back()) * s.channels, seed);
    w = NormalBuffer<__nv_bfloat16>(s.channels * s.width, seed + 1);
    bias = NormalBuffer<__nv_bfloat16>(s.channels, seed + 2);
    state =
        NormalBuffer<float>(size_t(sequences) * taps * s.channels, seed + 3);
    out = Bf16Buffer(x.size());
    std::vector<int32_t> order;
    for (int i = 0; i < sequences; ++i) order.push_back(sequences - 1 - i);
    slots = DeviceBuffer<int32_t>(order);
    cu_device = DeviceBuffer<int32_t>(cu);
    args.x = x.data();
    args.weight = w.data();
    args.bias = s.bias ? bias.data() : nullptr;
    args.out = out.data();
    args.state = s.state ? state.data() : nullptr;
    args.slots = s.state ? slots.data() : nullptr;
    args.cu_seqlens = cu_device.data();
    args.sequences = sequences;
    args.tokens = cu.back();
    args.channels = s.channels;
    args.width = s.width;
    args.x_stride = args.out_stride = s.channels;
    args.state_slot_stride = taps * s.channels;
    args.state_channel_stride = 1;
    args.state_tap_stride = s.channels;
    args.silu = s.silu;
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90CausalConv1d(args, stream), "conv1d");
  }
  Shape shape;
  std::vector<int32_t> cu{0};
  Sm90Conv1dArgs args;
  Bf16Buffer x, w, bias, out;
  FloatBuffer state;
  DeviceBuffer<int32_t> slots, cu_device;
};

// The row of x at t of sequence q, or the one carried from before it.
class Inputs {
 public:
  explicit Inputs(const Problem& p) : p_(p), state_(p.state.Download()) {}

  std::vector<float> At(int q, int t) const {
    const int channels = p_.shape.channels, taps = p_.shape.width - 1;
    if (t >= 0) {
      return Rows(p_.x.data() + int64_t{p_.cu[q] + t} * channels, 1, 0,
                  channels);
    }
    if (!p_.shape.state) return std::vector<float>(channels);
    const int slot = static_cast<int>(p_.shape.lengths.size()) - 1 - q;
    const auto begin =
        state_.begin() + int64_t{slot * taps + taps + t} * channels;
    return {begin, begin + channels};
  }

 private:
  const Problem& p_;
  std::vector<float> state_;  // as it was before the run
};

std::vector<OutputError> Compare(const Problem& p) {
  const Shape& s = p.shape;
  const int taps = s.width - 1;
  const Inputs in(p);
  const std::vector<float> w = Rows(p.w.data(), 1, 0, p.w.size());
  const std::vector<float> bias = Rows(p.bias.data(), 1, 0, s.channels);
  p.Launch(nullptr);
  ErrorNorm out_error, state_error;
  for (const int64_t row : Sample(p.cu.back(), 1200)) {
    const int q = static_cast<int>(
        std::upper_bound(p.cu.begin(), p.cu.end(), row) - p.cu.begin() - 1);
    std::vector<double> want(s.channels);
    for (int c = 0; s.bias && c < s.channels; ++c) want[c] = bias[c];
    for (int j = 0; j < s.width; ++j) {
      const std::vector<float> x =
          in.At(q, static_cast<int>(row) - p.cu[q] - taps + j);
      for (int c = 0; c < s.channels; ++c) {
        want[c] += double{w[c * s.width + j]} * x[c];
      }
    }
    for (double& y : want) y = s.silu ? Silu(y) : y;
    out_error.Add(Rows(p.out.data() + row * s.channels, 1, 0, s.channels),
                  want);
  }
  std::vector<OutputError> errors = {out_error.Relative("out", 3e-3)};
  if (!s.state) return errors;
  const int sequences = static_cast<int>(s.lengths.size());
  for (int q = 0; q < sequences; ++q) {
    for (int j = 0; j < taps; ++j) {
      const std::vector<float> want = in.At(q, s.lengths[q] - taps + j);
      state_error.Add(
          Rows(p.state.data() +
                   int64_t{(sequences - 1 - q) * taps + j} * s.channels,
               1, 0, s.channels),
          {want.begin(), want.end()});
    }
  }
  errors.push_back(state_error.Relative("state", 0));
  return errors;
}

}  // namespace

std::vector<GpuCase> sm90_conv1d(bool quick) {
  using Use = GpuCase::Use;
  const std::vector<int> ragged = {1, 0, 2, 63, 64, 65, 3, 0, 500, 7};
  std::vector<Shape> shapes = {
      {{1}, 8, 4, false, false, false},
      {ragged, 1288, 4, true, true, true},
      {ragged, 136, 3, false, true, true},
      {ragged, 64, 2, true, false, false},
      {std::vector<int>(97, 1), 256, 4, true, true, true},
      {{1000}, 1024, 4, true, true, true}};
  if (quick) {
    shapes.push_back({{1024, 1024}, 4096, 4, true, true, false, Use::kTable});
  } else {
    shapes.push_back(
        {std::vector<int>(8, 4096), 4096, 4, true, true, false, Use::kTable});
    shapes.push_back({{32768}, 4352, 4, true, true, false, Use::kTimed});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) {
    int tokens = 0;
    for (const int length : s.lengths) tokens += length;
    GpuCase c;
    c.name = "conv1d.sm90.conv1d";
    c.shape = std::to_string(tokens) + " tokens " +
              std::to_string(s.lengths.size()) + " sequences " +
              std::to_string(s.channels) + " channels width " +
              std::to_string(s.width) + (s.state ? " state" : "");
    c.bytes = 4.0 * tokens * s.channels;
    c.use = s.use;
    c.prepare = PrepareWith<Problem>(s, &Compare);
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace intarsia::bench
