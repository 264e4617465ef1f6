#include "bench/kernels/gpu/ssd_problem.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/kernels/gpu/memory_bound.h"

namespace intarsia::bench {
namespace {

constexpr int kP = SsdProblem::kHeadDim;

// A step d and its derivative by the stored dt.
struct Step {
  double d, slope;
};
Step StepOf(double raw, bool softplus) {
  if (!softplus) return {raw, 1};
  return {SoftplusReference(raw), 1 / (1 + std::exp(-raw))};
}

}  // namespace

std::string SsdShape::Name() const {
  std::string name =
      std::to_string(lengths.size()) + "x" +
      std::to_string(*std::max_element(lengths.begin(), lengths.end())) + " H" +
      std::to_string(heads) + " G" + std::to_string(groups) + " N" +
      std::to_string(state_dim);
  if (state) name += " state";
  if (extras) name += " D bias softplus";
  if (poisoned) name += " poisoned";
  return name + " decay " + std::to_string(int(fast));
}

SsdProblem::SsdProblem(const SsdShape& s, uint64_t seed) : shape(s) {
  in.cu = {0};
  for (const int length : s.lengths) in.cu.push_back(in.cu.back() + length);
  const int tokens = in.cu.back();
  const int sequences = static_cast<int>(s.lengths.size());
  const size_t n = size_t(tokens) * s.heads * kP;
  const size_t nbc = size_t(tokens) * s.groups * s.state_dim;
  const size_t nstate = size_t(sequences) * s.heads * kP * s.state_dim;
  in.x = RandomBf16(n, seed);
  in.b = RandomBf16(nbc, seed + 1);
  in.c = RandomBf16(nbc, seed + 2);
  in.dt = RandomNormal(size_t(tokens) * s.heads, seed + 3);
  in.bias = RandomNormal(s.heads, seed + 4, 0.5f);
  for (float& value : in.bias) value -= 3;
  if (!s.extras) {
    for (float& value : in.dt) value = std::exp(value - 3.5f);
  }
  in.a = RandomNormal(s.heads, seed + 5);
  for (int h = 0; h < s.heads; ++h) {
    in.a[h] = -s.slow * std::pow(s.fast / s.slow, (h + 0.5f) / float(s.heads));
  }
  in.d = RandomNormal(s.heads, seed + 6);
  in.state = RandomNormal(nstate, seed + 7);
  in.dy = RandomBf16(n, seed + 8);
  in.dstate = RandomNormal(nstate, seed + 9);
  if (s.poisoned) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const auto poison = [&](std::vector<float>* values, size_t row) {
      std::fill(values->begin() + in.cu[1] * row,
                values->begin() + in.cu[2] * row, nan);
    };
    poison(&in.x, size_t(s.heads) * kP);
    poison(&in.dy, size_t(s.heads) * kP);
    poison(&in.b, size_t(s.groups) * s.state_dim);
    poison(&in.c, size_t(s.groups) * s.state_dim);
  }

  x = DeviceBuffer<__nv_bfloat16>(ToBf16(in.x));
  b = DeviceBuffer<__nv_bfloat16>(ToBf16(in.b));
  c = DeviceBuffer<__nv_bfloat16>(ToBf16(in.c));
  y = DeviceBuffer<__nv_bfloat16>(n);
  dy = DeviceBuffer<__nv_bfloat16>(ToBf16(in.dy));
  dt = DeviceBuffer<float>(in.dt);
  a = DeviceBuffer<float>(in.a);
  d = DeviceBuffer<float>(in.d);
  bias = DeviceBuffer<float>(in.bias);
  initial = DeviceBuffer<float>(in.state);
  final_state = DeviceBuffer<float>(nstate);
  dstate = DeviceBuffer<float>(in.dstate);
  cu = DeviceBuffer<int32_t>(in.cu);

  args.x = x.data();
  args.dt = dt.data();
  args.b = b.data();
  args.c = c.data();
  args.a = a.data();
  args.y = y.data();
  if (s.extras) {
    args.d = d.data();
    args.dt_bias = bias.data();
    args.softplus = true;
  }
  if (s.state) {
    args.initial_state = initial.data();
    args.final_state = final_state.data();
  }
  args.cu_seqlens = cu.data();
  args.sequences = sequences;
  args.tokens = tokens;
  args.max_seqlen = *std::max_element(s.lengths.begin(), s.lengths.end());
  args.heads = s.heads;
  args.groups = s.groups;
  args.head_dim = kP;
  args.state_dim = s.state_dim;
  args.x_stride = args.y_stride = int64_t{s.heads} * kP;
  args.b_stride = args.c_stride = int64_t{s.groups} * s.state_dim;
  args.dt_stride = s.heads;
  workspace = DeviceBuffer<uint8_t>(Sm90SsdForwardWorkspace(args));
  args.workspace = workspace.data();
}

SsdOutputs SsdProblem::Reference(bool gradients) const {
  SsdOutputs out;
  out.y.assign(in.x.size(), 0);
  out.state.assign(in.state.size(), 0);
  if (gradients) {
    out.dx.assign(in.x.size(), 0);
    out.ddt.assign(in.dt.size(), 0);
    out.db.assign(in.b.size(), 0);
    out.dc.assign(in.c.size(), 0);
    out.da.assign(in.a.size(), 0);
    out.dd.assign(in.d.size(), 0);
    out.dbias.assign(in.bias.size(), 0);
    out.dstate.assign(in.state.size(), 0);
  }
  for (int q = 0; q < args.sequences; ++q) {
    for (int h = 0; h < shape.heads; ++h) OneHead(q, h, gradients, &out);
  }
  return out;
}

void SsdProblem::OneHead(int sequence, int head, bool gradients,
                         SsdOutputs* out) const {
  const int n = shape.state_dim, group = head / (shape.heads / shape.groups);
  const int begin = in.cu[sequence], end = in.cu[sequence + 1];
  const size_t at_state =
      (size_t(sequence) * shape.heads + head) * kP * size_t(n);
  const auto narrow = [&](int t) {
    return (size_t(t) * shape.heads + head) * kP;
  };
  const auto wide = [&](int t) {
    return (size_t(t) * shape.groups + group) * n;
  };
  const auto step = [&](int t) {
    const double raw = double(in.dt[size_t(t) * shape.heads + head]) +
                       (shape.extras ? in.bias[head] : 0.0f);
    return StepOf(raw, shape.extras);
  };
  const auto advance = [&](int t, std::vector<double>* s) {
    const double d = step(t).d, decay = std::exp(d * in.a[head]);
    const float* b = &in.b[wide(t)];
    for (int p = 0; p < kP; ++p) {
      const double dx = d * in.x[narrow(t) + p];
      double* row = s->data() + size_t(p) * n;
      for (int i = 0; i < n; ++i) row[i] = decay * row[i] + dx * b[i];
    }
  };

  constexpr int kKeep = 32;  // a state every so many tokens is kept
  std::vector<std::vector<double>> kept;
  std::vector<double> s(size_t(kP) * n, 0);
  if (shape.state) {
    std::copy_n(in.state.begin() + at_state, s.size(), s.begin());
  }
  const double skip = shape.extras ? in.d[head] : 0.0f;
  for (int t = begin; t < end; ++t) {
    if (gradients && (t - begin) % kKeep == 0) kept.push_back(s);
    advance(t, &s);
    const float* c = &in.c[wide(t)];
    for (int p = 0; p < kP; ++p) {
      double y = skip * in.x[narrow(t) + p];
      for (int i = 0; i < n; ++i) y += s[size_t(p) * n + i] * c[i];
      out->y[narrow(t) + p] = y;
    }
  }
  std::copy(s.begin(), s.end(), out->state.begin() + at_state);
  if (!gradients) return;

  // r: gradient of the state after the token.
  std::vector<double> r(s.size(), 0);
  if (shape.state) {
    std::copy_n(in.dstate.begin() + at_state, r.size(), r.begin());
  }
  std::vector<std::vector<double>> states(kKeep + 1);
  for (int block = static_cast<int>(kept.size()) - 1; block >= 0; --block) {
    const int first = begin + block * kKeep;
    const int count = std::min(kKeep, end - first);
    states[0] = kept[block];
    for (int k = 0; k < count; ++k) {
      states[k + 1] = states[k];
      advance(first + k, &states[k + 1]);
    }
    for (int t = first + count - 1; t >= first; --t) {
      const std::vector<double>& before = states[t - first];
      const std::vector<double>& after = states[t - first + 1];
      const Step d = step(t);
      const double decay = std::exp(d.d * in.a[head]);
      const float* b = &in.b[wide(t)];
      const float* c = &in.c[wide(t)];
      double by_decay = 0, by_step = 0;
      for (int p = 0; p < kP; ++p) {
        const double dy = in.dy[narrow(t) + p], x = in.x[narrow(t) + p];
        double rb = 0;
        for (int i = 0; i < n; ++i) {
          double& grad = r[size_t(p) * n + i];
          grad += dy * c[i];
          out->dc[wide(t) + i] += after[size_t(p) * n + i] * dy;
          out->db[wide(t) + i] += d.d * x * grad;
          rb += grad * b[i];
          by_decay += grad * before[size_t(p) * n + i];
          grad *= decay;
        }
        out->dx[narrow(t) + p] = d.d * rb + skip * dy;
        by_step += x * rb;
        out->dd[head] += x * dy;
      }
      by_decay *= decay;
      const double raw = (by_step + in.a[head] * by_decay) * d.slope;
      out->ddt[size_t(t) * shape.heads + head] = raw;
      out->da[head] += d.d * by_decay;
      out->dbias[head] += raw;
    }
  }
  std::copy(r.begin(), r.end(), out->dstate.begin() + at_state);
}

}  // namespace intarsia::bench
