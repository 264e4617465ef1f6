// Retention's step of decoding, in place on the states.
#include <algorithm>
#include <cmath>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/mixers/retention/sm90_state_update.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int batch, heads, key_dim, value_dim;
  GpuCase::Use use = GpuCase::Use::kChecked;

  int keys() const { return heads * key_dim; }
  int values() const { return heads * value_dim; }
  int64_t per_state() const { return int64_t{keys()} * value_dim; }
};

// Slots in reverse order; small shapes have one row of padding in the middle.
struct Problem {
  Problem(const Shape& s, uint64_t seed) : shape(s) {
    seed *= 8;
    state = NormalBuffer<float>(s.per_state() * s.batch, seed);
    q = NormalBuffer<__nv_bfloat16>(int64_t{s.batch} * s.keys(), seed + 1);
    k = NormalBuffer<__nv_bfloat16>(int64_t{s.batch} * s.keys(), seed + 2);
    v = NormalBuffer<__nv_bfloat16>(int64_t{s.batch} * s.values(), seed + 3);
    out = Bf16Buffer(v.size());
    for (int h = 0; h < s.heads; ++h) {
      decays.push_back(1 - std::exp2(-5.0f - h));
    }
    decay = FloatBuffer(decays);
    for (int i = 0; i < s.batch; ++i) slots.push_back(s.batch - 1 - i);
    if (s.use == GpuCase::Use::kChecked && s.batch > 2) {
      slots[s.batch / 2] = -1;
    }
    slots_device = DeviceBuffer<int32_t>(slots);
    args.state = state.data();
    args.slots = slots_device.data();
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.decay = decay.data();
    args.out = out.data();
    args.batch = s.batch;
    args.heads = s.heads;
    args.key_dim = s.key_dim;
    args.value_dim = s.value_dim;
    args.scale = 0.125f;
    args.q_stride = args.k_stride = s.keys();
    args.v_stride = args.out_stride = s.values();
    args.slot_stride = s.per_state();
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90RetentionStep(args, stream), "retention step");
  }
  std::vector<float> State(int64_t slot) const {
    return Rows(state.data() + slot * shape.per_state(), 1, 0,
                shape.per_state());
  }
  Shape shape;
  Sm90RetentionStepArgs args;
  FloatBuffer state, decay;
  Bf16Buffer q, k, v, out;
  std::vector<float> decays;
  std::vector<int32_t> slots;
  DeviceBuffer<int32_t> slots_device;
};

// Row i of the batch: its state moves on, and its output.
std::vector<double> Reference(const Problem& p, int64_t i,
                              std::vector<double>* state) {
  const Shape& s = p.shape;
  const std::vector<float> q = Rows(p.q.data() + i * s.keys(), 1, 0, s.keys());
  const std::vector<float> k = Rows(p.k.data() + i * s.keys(), 1, 0, s.keys());
  const std::vector<float> v =
      Rows(p.v.data() + i * s.values(), 1, 0, s.values());
  std::vector<double> out(s.values());
  for (int row = 0; row < s.keys(); ++row) {
    const int h = row / s.key_dim;
    for (int j = 0; j < s.value_dim; ++j) {
      const int at = h * s.value_dim + j;
      double& value = (*state)[size_t(row) * s.value_dim + j];
      value = p.decays[h] * value + double{k[row]} * v[at];
      out[at] += 0.125 * q[row] * value;
    }
  }
  return out;
}

std::vector<OutputError> Compare(const Problem& p) {
  const int values = p.shape.values();
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
    const std::vector<float> out =
        Rows(p.out.data() + i * values, 1, 0, values);
    if (p.slots[i] < 0) {  // padding: zeros
      out_error.Add(out, std::vector<double>(values));
      continue;
    }
    out_error.Add(out, Reference(p, i, &states[r]));
    state_error.Add(p.State(p.slots[i]), states[r]);
  }
  return {out_error.Relative("out", 3e-3), state_error.Relative("state", 1e-6)};
}

}  // namespace

std::vector<GpuCase> sm90_retention_step(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes = {
      {1, 1, 3, 4}, {3, 2, 64, 64}, {4, 8, 256, 512}, {5, 3, 100, 132}};
  if (quick) {
    shapes.push_back({16, 4, 128, 256, Use::kTable});
  } else {
    shapes.push_back({64, 8, 256, 512, Use::kTable});
    shapes.push_back({1024, 8, 256, 512, Use::kTable});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) {
    GpuCase c;
    c.name = "retention.sm90.state_update";
    c.shape = "B" + std::to_string(s.batch) + " H" + std::to_string(s.heads) +
              " K" + std::to_string(s.key_dim) + " V" +
              std::to_string(s.value_dim);
    c.bytes = s.batch * (8.0 * s.per_state() + 4.0 * (s.keys() + s.values()));
    c.use = s.use;
    c.prepare = PrepareWith<Problem>(s, &Compare);
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace intarsia::bench
