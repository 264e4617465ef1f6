// Mamba-2's step of decoding, in place on the states.
#include <algorithm>
#include <cmath>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/mixers/mamba2/sm90_state_update.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int batch, heads, head_dim, state_dim, groups = 1;
  bool z = true;
  GpuCase::Use use = GpuCase::Use::kChecked;

  int width() const { return heads * head_dim; }
  int64_t per_state() const { return int64_t{width()} * state_dim; }
};

// Slots in reverse order; small shapes have one row of padding in the middle.
struct Problem {
  Problem(const Shape& s, uint64_t seed) : shape(s) {
    const int64_t width = s.width(), bc = s.groups * s.state_dim;
    seed *= 16;
    state = NormalBuffer<float>(s.per_state() * s.batch, seed);
    x = NormalBuffer<__nv_bfloat16>(s.batch * width, seed + 1);
    z = NormalBuffer<__nv_bfloat16>(s.batch * width, seed + 2);
    dt = NormalBuffer<__nv_bfloat16>(int64_t{s.batch} * s.heads, seed + 3,
                                     {4, 0, false});
    b = NormalBuffer<__nv_bfloat16>(s.batch * bc, seed + 4);
    c = NormalBuffer<__nv_bfloat16>(s.batch * bc, seed + 5);
    d = NormalBuffer<float>(s.heads, seed + 6);
    bias = NormalBuffer<float>(s.heads, seed + 7);
    std::vector<float> decays = RandomNormal(s.heads, seed + 8);
    for (float& value : decays) value = -std::exp(value);
    a = FloatBuffer(decays);
    out = Bf16Buffer(x.size());
    for (int i = 0; i < s.batch; ++i) slots.push_back(s.batch - 1 - i);
    if (s.use == GpuCase::Use::kChecked && s.batch > 2) {
      slots[s.batch / 2] = -1;
    }
    slots_device = DeviceBuffer<int32_t>(slots);
    args.state = state.data();
    args.slots = slots_device.data();
    args.x = x.data();
    args.dt = dt.data();
    args.b = b.data();
    args.c = c.data();
    args.z = s.z ? z.data() : nullptr;
    args.a = a.data();
    args.d = d.data();
    args.dt_bias = bias.data();
    args.out = out.data();
    args.batch = s.batch;
    args.heads = s.heads;
    args.head_dim = s.head_dim;
    args.state_dim = s.state_dim;
    args.groups = s.groups;
    args.x_stride = args.z_stride = args.out_stride = width;
    args.dt_stride = s.heads;
    args.b_stride = args.c_stride = bc;
    args.slot_stride = s.per_state();
    args.dt_max = 5;
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90Mamba2Step(args, stream), "Mamba-2 step");
  }
  std::vector<float> State(int64_t slot) const {
    return Rows(state.data() + slot * shape.per_state(), 1, 0,
                shape.per_state());
  }
  Shape shape;
  Sm90Mamba2StepArgs args;
  FloatBuffer state, a, d, bias;
  Bf16Buffer x, z, dt, b, c, out;
  std::vector<int32_t> slots;
  DeviceBuffer<int32_t> slots_device;
};

// Row i of the batch: its state moves on, and its output.
std::vector<double> Reference(const Problem& p, int64_t i,
                              std::vector<double>* state) {
  const Shape& s = p.shape;
  const int width = s.width(), bc = s.groups * s.state_dim;
  const std::vector<float> x = Rows(p.x.data() + i * width, 1, 0, width);
  const std::vector<float> z = Rows(p.z.data() + i * width, 1, 0, width);
  const std::vector<float> dt = Rows(p.dt.data() + i * s.heads, 1, 0, s.heads);
  const std::vector<float> b = Rows(p.b.data() + i * bc, 1, 0, bc);
  const std::vector<float> c = Rows(p.c.data() + i * bc, 1, 0, bc);
  const std::vector<float> a = p.a.Download(), d = p.d.Download(),
                           bias = p.bias.Download();
  std::vector<double> out(width);
  for (int k = 0; k < width; ++k) {
    const int h = k / s.head_dim, g = h / (s.heads / s.groups);
    const double step = std::min(5.0, Softplus(double{dt[h]} + bias[h]));
    double* row = &(*state)[size_t(k) * s.state_dim];
    double y = double{d[h]} * x[k];
    for (int n = 0; n < s.state_dim; ++n) {
      const int at = g * s.state_dim + n;
      row[n] = std::exp(step * a[h]) * row[n] + step * x[k] * b[at];
      y += row[n] * c[at];
    }
    out[k] = s.z ? y * Silu(z[k]) : y;
  }
  return out;
}

std::vector<OutputError> Compare(const Problem& p) {
  const int width = p.shape.width();
  const std::vector<int64_t> rows = Sample(p.shape.batch, 6);
  std::vector<std::vector<double>> states;
  for (const int64_t i : rows) {
    const std::vector<float> before = p.State(std::max(0, p.slots[i]));
    states.emplace_back(before.begin(), before.end());
  }
  p.Launch(nullptr);
  ErrorNorm out_error, state_error;
  for (size_t r = 0; r < rows.size(); ++r) {
    const int64_t i = rows[r];
    const std::vector<float> out = Rows(p.out.data() + i * width, 1, 0, width);
    if (p.slots[i] < 0) {  // padding: zeros
      out_error.Add(out, std::vector<double>(width));
      continue;
    }
    out_error.Add(out, Reference(p, i, &states[r]));
    state_error.Add(p.State(p.slots[i]), states[r]);
  }
  return {out_error.Relative("out", 3e-3), state_error.Relative("state", 1e-6)};
}

}  // namespace

std::vector<GpuCase> sm90_mamba2_step(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes = {{1, 1, 4, 32, 1, false},
                               {3, 5, 64, 128, 1, true},
                               {4, 8, 64, 128, 4, false},
                               {5, 2, 50, 64, 2, true},
                               {2, 3, 96, 256, 1, true}};
  if (quick) {
    shapes.push_back({16, 24, 64, 128, 1, true, Use::kTable});
  } else {
    shapes.push_back({64, 80, 64, 128, 1, true, Use::kTable});
    shapes.push_back({256, 80, 64, 128, 1, true, Use::kTimed});
    shapes.push_back({1024, 80, 64, 128, 1, true, Use::kTable});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) {
    GpuCase c;
    c.name = "mamba2.sm90.state_update";
    c.shape = "B" + std::to_string(s.batch) + " H" + std::to_string(s.heads) +
              " P" + std::to_string(s.head_dim) + " N" +
              std::to_string(s.state_dim) + " G" + std::to_string(s.groups) +
              (s.z ? " z" : "");
    c.bytes = 8.0 * s.per_state() * s.batch + 6.0 * s.batch * s.width();
    c.use = s.use;
    c.prepare = PrepareWith<Problem>(s, &Compare);
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace intarsia::bench
