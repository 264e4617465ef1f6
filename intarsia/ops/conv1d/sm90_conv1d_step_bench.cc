// The decoding step of the causal convolution.
#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/ops/conv1d/sm90_conv1d.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int rows;
  std::vector<int> channels;
  int width;
  bool bias, silu;
  GpuCase::Use use = GpuCase::Use::kChecked;
};

// Slots in reverse order; every seventh row is padding.
struct Problem {
  struct Part {
    Bf16Buffer x, out;
    FloatBuffer weight, bias, state;
  };

  Problem(const Shape& s, uint64_t seed) : shape(s) {
    std::vector<int32_t> order;
    for (int r = 0; r < s.rows; ++r) {
      order.push_back(r % 7 == 6 ? -1 : s.rows - 1 - r);
    }
    slots_on_host = order;
    slots = DeviceBuffer<int32_t>(order);
    for (const int channels : s.channels) {
      seed += 5;
      Part& p = parts.emplace_back();
      p.x = NormalBuffer<__nv_bfloat16>(size_t(s.rows) * channels, seed);
      p.out = Bf16Buffer(p.x.size());
      p.weight = NormalBuffer<float>(size_t(channels) * s.width, seed + 1);
      p.bias = NormalBuffer<float>(channels, seed + 2);
      p.state = NormalBuffer<float>(size_t(s.rows) * channels * (s.width - 1),
                                    seed + 3);
      args.parts[args.count++] = {.x = p.x.data(),
                                  .x_stride = channels,
                                  .weight = p.weight.data(),
                                  .bias = s.bias ? p.bias.data() : nullptr,
                                  .state = p.state.data(),
                                  .out = p.out.data(),
                                  .channels = channels};
    }
    args.slots = slots.data();
    args.rows = s.rows;
    args.width = s.width;
    args.silu = s.silu;
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90Conv1dStep(args, stream), "step of conv1d");
  }
  Shape shape;
  std::vector<Part> parts;
  std::vector<int32_t> slots_on_host;
  DeviceBuffer<int32_t> slots;
  Sm90Conv1dStepArgs args;
};

std::vector<OutputError> Compare(const Problem& p) {
  const Shape& s = p.shape;
  const int kept = s.width - 1;
  std::vector<std::vector<float>> before;
  for (const Problem::Part& part : p.parts) {
    before.push_back(part.state.Download());
  }
  p.Launch(nullptr);
  ErrorNorm out_error, state_error;
  for (size_t i = 0; i < p.parts.size(); ++i) {
    const Problem::Part& part = p.parts[i];
    const int channels = s.channels[i];
    const std::vector<float> weight = part.weight.Download();
    const std::vector<float> bias = part.bias.Download();
    std::vector<float> state = before[i];
    for (int r = 0; r < s.rows; ++r) {
      const int slot = p.slots_on_host[r];
      const std::vector<float> x =
          Rows(part.x.data() + int64_t{r} * channels, 1, 0, channels);
      std::vector<double> want(channels);
      for (int c = 0; slot >= 0 && c < channels; ++c) {
        float* past = &state[(size_t(slot) * channels + c) * kept];
        double y = s.bias ? bias[c] : 0.0;
        for (int j = 0; j < kept; ++j) {
          y += double{weight[c * s.width + j]} * past[j];
        }
        y += double{weight[c * s.width + kept]} * x[c];
        want[c] = s.silu ? Silu(y) : y;
        for (int j = 0; j + 1 < kept; ++j) past[j] = past[j + 1];
        past[kept - 1] = x[c];
      }
      out_error.Add(
          Rows(part.out.data() + int64_t{r} * channels, 1, 0, channels), want);
    }
    state_error.Add(part.state.Download(), {state.begin(), state.end()});
  }
  return {out_error.Relative("out", 3e-3), state_error.Relative("state", 0)};
}

}  // namespace

std::vector<GpuCase> sm90_conv1d_step(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes = {{1, {8}, 4, false, false},
                               {9, {1288, 64, 72}, 4, true, true},
                               {8, {136, 8}, 3, false, true},
                               {15, {1024}, 2, true, false}};
  if (quick) {
    shapes.push_back({16, {4096}, 4, true, true, Use::kTable});
  } else {
    shapes.push_back({512, {5120, 128, 128}, 4, true, true, Use::kTable});
    shapes.push_back({64, {5120, 128, 128}, 4, true, true, Use::kTimed});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) {
    GpuCase c;
    double channels = 0;
    std::string name;
    for (const int n : s.channels) {
      channels += n;
      name += (name.empty() ? "" : "+") + std::to_string(n);
    }
    c.name = "conv1d.sm90.step";
    c.shape = std::to_string(s.rows) + " rows of " + name + " width " +
              std::to_string(s.width);
    c.bytes =
        channels * (s.rows * (4.0 + 8.0 * (s.width - 1)) + 4.0 * (s.width + 1));
    c.use = s.use;
    c.prepare = PrepareWith<Problem>(s, &Compare);
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace intarsia::bench
