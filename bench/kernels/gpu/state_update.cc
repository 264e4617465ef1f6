// Recurrent decoding steps: Mamba-2 and retention, in place on the states.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"
#include "intarsia/mixers/mamba2/sm90_state_update.h"
#include "intarsia/mixers/retention/sm90_state_update.h"

namespace intarsia::bench {
namespace {

// Reverse order, and one row of padding in the middle.
std::vector<int32_t> Slots(int batch) {
  std::vector<int32_t> slots(batch);
  for (int i = 0; i < batch; ++i) slots[i] = batch - 1 - i;
  if (batch > 2) slots[batch / 2] = -1;
  return slots;
}

struct Mamba2Shape {
  int batch, heads, head_dim, state_dim, groups;
  bool z;
};

void CheckMamba2(const Options& options, Report* report, const Mamba2Shape& s) {
  const std::string name =
      "mamba2 B" + std::to_string(s.batch) + " H" + std::to_string(s.heads) +
      " P" + std::to_string(s.head_dim) + " N" + std::to_string(s.state_dim) +
      " G" + std::to_string(s.groups) + (s.z ? " z" : "");
  if (!Wanted(options, name)) return;
  const int width = s.heads * s.head_dim;
  const int bc = s.groups * s.state_dim;
  const size_t per_state = size_t(width) * s.state_dim;
  const std::vector<float> state =
      RandomNormal(per_state * s.batch, options.seed);
  const std::vector<float> x = RandomBf16(size_t(s.batch) * width, 2);
  const std::vector<float> z = RandomBf16(size_t(s.batch) * width, 3);
  const std::vector<float> dt = RandomBf16(size_t(s.batch) * s.heads, 4, 4);
  const std::vector<float> b = RandomBf16(size_t(s.batch) * bc, 5);
  const std::vector<float> c = RandomBf16(size_t(s.batch) * bc, 6);
  const std::vector<float> d = RandomNormal(s.heads, 7);
  const std::vector<float> bias = RandomNormal(s.heads, 8);
  std::vector<float> a = RandomNormal(s.heads, 9);
  for (float& value : a) value = -std::exp(value);
  const std::vector<int32_t> slots = Slots(s.batch);
  DeviceBuffer<float> dstate(state), dd(d), dbias(bias), da(a);
  DeviceBuffer<__nv_bfloat16> dx(ToBf16(x)), dz(ToBf16(z)), ddt(ToBf16(dt)),
      db(ToBf16(b)), dc(ToBf16(c)), dout(x.size());
  DeviceBuffer<int32_t> dslots(slots);
  Sm90Mamba2StepArgs args;
  args.state = dstate.data();
  args.slots = dslots.data();
  args.x = dx.data();
  args.dt = ddt.data();
  args.b = db.data();
  args.c = dc.data();
  args.z = s.z ? dz.data() : nullptr;
  args.a = da.data();
  args.d = dd.data();
  args.dt_bias = dbias.data();
  args.out = dout.data();
  args.batch = s.batch;
  args.heads = s.heads;
  args.head_dim = s.head_dim;
  args.state_dim = s.state_dim;
  args.groups = s.groups;
  args.x_stride = args.z_stride = args.out_stride = width;
  args.dt_stride = s.heads;
  args.b_stride = args.c_stride = bc;
  args.slot_stride = per_state;
  args.dt_max = 5;
  INTARSIA_BENCH_CUDA(LaunchSm90Mamba2Step(args, nullptr));

  std::vector<double> state_out = ToDouble(state), out(x.size());
  for (int i = 0; i < s.batch; ++i) {
    if (slots[i] < 0) continue;
    for (int p = 0; p < width; ++p) {
      const int h = p / s.head_dim;
      const int g = h / (s.heads / s.groups);
      const double step = std::min(
          5.0, SoftplusReference(double(dt[i * s.heads + h]) + bias[h]));
      double* row = &state_out[slots[i] * per_state + size_t(p) * s.state_dim];
      const double xp = x[size_t(i) * width + p];
      double y = d[h] * xp;
      for (int n = 0; n < s.state_dim; ++n) {
        const size_t at = size_t(i) * bc + g * s.state_dim + n;
        row[n] = std::exp(step * a[h]) * row[n] + step * xp * b[at];
        y += row[n] * c[at];
      }
      if (s.z) y *= SiluReference(z[size_t(i) * width + p]);
      out[size_t(i) * width + p] = y;
    }
  }
  CheckClose(report, "state_update", name, ToFloat(dout.Download()), out, 3e-3);
  CheckClose(report, "state_update", name + " state", dstate.Download(),
             state_out, 1e-6);
}

void TimeMamba2(const Options& options, Report* report, int batch, int heads,
                int head_dim, int state_dim, int groups) {
  const int width = heads * head_dim;
  const int bc = groups * state_dim;
  const size_t per_state = size_t(width) * state_dim;
  DeviceBuffer<float> state(per_state * batch), a(heads), d(heads);
  FillNormal(state.data(), state.size(), 1);
  a.Upload(std::vector<float>(heads, -1.0f));
  d.Upload(std::vector<float>(heads, 1.0f));
  const size_t n = size_t(batch) * width;
  DeviceBuffer<__nv_bfloat16> x(n), z(n), out(n), dt(batch * heads),
      b(batch * bc), c(batch * bc);
  for (auto* buffer : {&x, &z, &dt, &b, &c}) {
    FillNormal(buffer->data(), buffer->size(), 2);
  }
  Sm90Mamba2StepArgs args;
  args.state = state.data();
  args.x = x.data();
  args.dt = dt.data();
  args.b = b.data();
  args.c = c.data();
  args.z = z.data();
  args.a = a.data();
  args.d = d.data();
  args.out = out.data();
  args.batch = batch;
  args.heads = heads;
  args.head_dim = head_dim;
  args.state_dim = state_dim;
  args.groups = groups;
  args.x_stride = args.z_stride = args.out_stride = width;
  args.dt_stride = heads;
  args.b_stride = args.c_stride = bc;
  args.slot_stride = per_state;
  TimeBesideCopy(
      options, report, "state_update",
      {{"mamba2 B" + std::to_string(batch) + " H" + std::to_string(heads) +
            " P" + std::to_string(head_dim) + " N" + std::to_string(state_dim),
        8.0 * state.size() + 6.0 * n, [=](cudaStream_t stream) {
          INTARSIA_BENCH_CUDA(LaunchSm90Mamba2Step(args, stream));
        }}});
}

void CheckRetention(const Options& options, Report* report, int batch,
                    int heads, int key_dim, int value_dim) {
  const std::string name =
      "retention B" + std::to_string(batch) + " H" + std::to_string(heads) +
      " K" + std::to_string(key_dim) + " V" + std::to_string(value_dim);
  if (!Wanted(options, name)) return;
  const int keys = heads * key_dim;
  const int values = heads * value_dim;
  const size_t per_state = size_t(keys) * value_dim;
  const std::vector<float> state =
      RandomNormal(per_state * batch, options.seed);
  const std::vector<float> q = RandomBf16(size_t(batch) * keys, 2);
  const std::vector<float> k = RandomBf16(size_t(batch) * keys, 3);
  const std::vector<float> v = RandomBf16(size_t(batch) * values, 4);
  std::vector<float> decay(heads);
  for (int h = 0; h < heads; ++h) decay[h] = 1 - std::exp2(-5.0f - h);
  const std::vector<int32_t> slots = Slots(batch);
  DeviceBuffer<float> dstate(state), ddecay(decay);
  DeviceBuffer<__nv_bfloat16> dq(ToBf16(q)), dk(ToBf16(k)), dv(ToBf16(v)),
      dout(v.size());
  DeviceBuffer<int32_t> dslots(slots);
  Sm90RetentionStepArgs args;
  args.state = dstate.data();
  args.slots = dslots.data();
  args.q = dq.data();
  args.k = dk.data();
  args.v = dv.data();
  args.decay = ddecay.data();
  args.out = dout.data();
  args.batch = batch;
  args.heads = heads;
  args.key_dim = key_dim;
  args.value_dim = value_dim;
  args.scale = 0.125f;
  args.q_stride = args.k_stride = keys;
  args.v_stride = args.out_stride = values;
  args.slot_stride = per_state;
  INTARSIA_BENCH_CUDA(LaunchSm90RetentionStep(args, nullptr));

  std::vector<double> state_out = ToDouble(state), out(v.size());
  for (int i = 0; i < batch; ++i) {
    if (slots[i] < 0) continue;
    for (int row = 0; row < keys; ++row) {
      const int h = row / key_dim;
      for (int j = 0; j < value_dim; ++j) {
        const size_t at = size_t(i) * values + h * value_dim + j;
        double& s =
            state_out[slots[i] * per_state + size_t(row) * value_dim + j];
        s = decay[h] * s + double(k[size_t(i) * keys + row]) * v[at];
        out[at] += 0.125 * q[size_t(i) * keys + row] * s;
      }
    }
  }
  CheckClose(report, "state_update", name, ToFloat(dout.Download()), out, 3e-3);
  CheckClose(report, "state_update", name + " state", dstate.Download(),
             state_out, 1e-6);
}

void TimeRetention(const Options& options, Report* report, int batch, int heads,
                   int key_dim, int value_dim) {
  const int keys = heads * key_dim;
  const int values = heads * value_dim;
  const size_t per_state = size_t(keys) * value_dim;
  DeviceBuffer<float> state(per_state * batch), decay(heads);
  FillNormal(state.data(), state.size(), 1);
  decay.Upload(std::vector<float>(heads, 0.99f));
  DeviceBuffer<__nv_bfloat16> q(size_t(batch) * keys), k(q.size()),
      v(size_t(batch) * values), out(v.size());
  for (auto* buffer : {&q, &k, &v}) {
    FillNormal(buffer->data(), buffer->size(), 2);
  }
  Sm90RetentionStepArgs args;
  args.state = state.data();
  args.q = q.data();
  args.k = k.data();
  args.v = v.data();
  args.decay = decay.data();
  args.out = out.data();
  args.batch = batch;
  args.heads = heads;
  args.key_dim = key_dim;
  args.value_dim = value_dim;
  args.q_stride = args.k_stride = keys;
  args.v_stride = args.out_stride = values;
  args.slot_stride = per_state;
  TimeBesideCopy(
      options, report, "state_update",
      {{"retention B" + std::to_string(batch) + " H" + std::to_string(heads) +
            " K" + std::to_string(key_dim) + " V" + std::to_string(value_dim),
        8.0 * state.size() + 4.0 * (q.size() + v.size()),
        [=](cudaStream_t stream) {
          INTARSIA_BENCH_CUDA(LaunchSm90RetentionStep(args, stream));
        }}});
}

}  // namespace

void StateUpdateFamily(const Options& options, Report* report) {
  if (options.check) {
    for (const Mamba2Shape& s :
         std::vector<Mamba2Shape>{{1, 1, 4, 32, 1, false},
                                  {3, 5, 64, 128, 1, true},
                                  {4, 8, 64, 128, 4, false},
                                  {5, 2, 50, 64, 2, true},
                                  {2, 3, 96, 256, 1, true}}) {
      CheckMamba2(options, report, s);
    }
    CheckRetention(options, report, 1, 1, 3, 4);
    CheckRetention(options, report, 3, 2, 64, 64);
    CheckRetention(options, report, 4, 8, 256, 512);
    CheckRetention(options, report, 5, 3, 100, 132);
  }
  if (!options.time) return;
  TimeMamba2(options, report, 64, 80, 64, 128, 1);
  TimeRetention(options, report, 64, 8, 256, 512);
  if (options.quick) return;
  TimeMamba2(options, report, 256, 80, 64, 128, 1);
  TimeMamba2(options, report, 1024, 80, 64, 128, 1);
  TimeRetention(options, report, 1024, 8, 256, 512);
}

}  // namespace intarsia::bench
