// Causal depthwise convolution over packed sequences.
#include "intarsia/ops/conv1d/sm90_conv1d.h"

#include <algorithm>
#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"

namespace intarsia::bench {
namespace {

struct Shape {
  std::vector<int> lengths;
  int channels, width;
  bool bias, silu, state;
};

std::vector<int32_t> Cumulative(const std::vector<int>& lengths) {
  std::vector<int32_t> out = {0};
  for (const int length : lengths) out.push_back(out.back() + length);
  return out;
}

// States are [slot, tap, channel] here, in slots of reverse order.
void Check(const Options& options, Report* report, const Shape& s) {
  const std::vector<int32_t> cu = Cumulative(s.lengths);
  const int tokens = cu.back();
  const int sequences = static_cast<int>(s.lengths.size());
  const int taps = s.width - 1;
  const std::string name = std::to_string(tokens) + " tokens " +
                           std::to_string(sequences) + " sequences " +
                           std::to_string(s.channels) + " channels width " +
                           std::to_string(s.width) + (s.state ? " state" : "");
  if (!Wanted(options, name)) return;
  const std::vector<float> x =
      RandomBf16(size_t(tokens) * s.channels, options.seed);
  const std::vector<float> w =
      RandomBf16(size_t(s.channels) * s.width, options.seed + 1);
  const std::vector<float> bias = RandomBf16(s.channels, options.seed + 2);
  std::vector<float> state =
      RandomNormal(size_t(sequences) * taps * s.channels, options.seed + 3);
  std::vector<int32_t> slots(sequences);
  for (int i = 0; i < sequences; ++i) slots[i] = sequences - 1 - i;
  DeviceBuffer<__nv_bfloat16> dx(ToBf16(x)), dw(ToBf16(w)), dbias(ToBf16(bias)),
      dout(x.size());
  DeviceBuffer<float> dstate(state);
  DeviceBuffer<int32_t> dcu(cu), dslots(slots);
  Sm90Conv1dArgs args;
  args.x = dx.data();
  args.weight = dw.data();
  args.bias = s.bias ? dbias.data() : nullptr;
  args.out = dout.data();
  args.state = s.state ? dstate.data() : nullptr;
  args.slots = dslots.data();
  args.cu_seqlens = dcu.data();
  args.sequences = sequences;
  args.tokens = tokens;
  args.channels = s.channels;
  args.width = s.width;
  args.x_stride = args.out_stride = s.channels;
  args.state_slot_stride = taps * s.channels;
  args.state_channel_stride = 1;
  args.state_tap_stride = s.channels;
  args.silu = s.silu;
  INTARSIA_BENCH_CUDA(LaunchSm90CausalConv1d(args, nullptr));

  std::vector<double> out(x.size());
  std::vector<double> state_out = ToDouble(state);
  for (int q = 0; q < sequences; ++q) {
    const float* carried = &state[size_t(slots[q]) * taps * s.channels];
    for (int c = 0; c < s.channels; ++c) {
      const auto input = [&](int t) -> double {
        if (t >= 0) return x[size_t(cu[q] + t) * s.channels + c];
        return s.state ? carried[(taps + t) * s.channels + c] : 0.0;
      };
      for (int t = 0; t < s.lengths[q]; ++t) {
        double y = s.bias ? bias[c] : 0.0;
        for (int j = 0; j < s.width; ++j) {
          y += double(w[c * s.width + j]) * input(t - s.width + 1 + j);
        }
        out[size_t(cu[q] + t) * s.channels + c] = s.silu ? SiluReference(y) : y;
      }
      for (int j = 0; s.state && s.lengths[q] > 0 && j < taps; ++j) {
        state_out[(size_t(slots[q]) * taps + j) * s.channels + c] =
            input(s.lengths[q] - taps + j);
      }
    }
  }
  CheckClose(report, "conv1d", name, ToFloat(dout.Download()), out, 3e-3);
  CheckClose(report, "conv1d", name + " state out", dstate.Download(),
             state_out, 0);
}

void Time(const Options& options, Report* report, int sequences, int length,
          int channels) {
  const int tokens = sequences * length;
  const size_t n = size_t(tokens) * channels;
  DeviceBuffer<__nv_bfloat16> x(n), out(n), w(4 * channels), bias(channels);
  FillNormal(x.data(), n, 1);
  FillNormal(w.data(), w.size(), 2);
  FillNormal(bias.data(), bias.size(), 3);
  DeviceBuffer<int32_t> cu(Cumulative(std::vector<int>(sequences, length)));
  Sm90Conv1dArgs args;
  args.x = x.data();
  args.weight = w.data();
  args.bias = bias.data();
  args.out = out.data();
  args.cu_seqlens = cu.data();
  args.sequences = sequences;
  args.tokens = tokens;
  args.channels = channels;
  args.x_stride = args.out_stride = channels;
  TimeBesideCopy(options, report, "conv1d",
                 {{std::to_string(sequences) + "x" + std::to_string(length) +
                       " tokens " + std::to_string(channels) + " channels",
                   4.0 * n, [=](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(LaunchSm90CausalConv1d(args, stream));
                   }}});
}

}  // namespace

void Conv1dFamily(const Options& options, Report* report) {
  if (options.check) {
    const std::vector<int> ragged = {1, 0, 2, 63, 64, 65, 3, 0, 500, 7};
    Check(options, report, {{1}, 8, 4, false, false, false});
    Check(options, report, {ragged, 1288, 4, true, true, true});
    Check(options, report, {ragged, 136, 3, false, true, true});
    Check(options, report, {ragged, 64, 2, true, false, false});
    Check(options, report, {std::vector<int>(97, 1), 256, 4, true, true, true});
    Check(options, report, {{1000}, 1024, 4, true, true, true});
  }
  if (!options.time) return;
  Time(options, report, 8, 4096, 4096);
  if (!options.quick) Time(options, report, 1, 32768, 4352);
}

}  // namespace intarsia::bench
