#include <algorithm>
#include <cmath>

#include "intarsia/mixers/mamba2/sm90_ssd_bench.h"

namespace intarsia::bench {
namespace {

constexpr int kP = SsdProblem::kHeadDim;
constexpr int kKeep = 32;  // a state every so many tokens is kept

}  // namespace

std::string SsdShape::Name() const {
  std::string name =
      "B" + std::to_string(lengths.size()) + " T" +
      std::to_string(*std::max_element(lengths.begin(), lengths.end())) + " H" +
      std::to_string(heads) + " P64 N" + std::to_string(state_dim) + " G" +
      std::to_string(groups);
  if (use != GpuCase::Use::kChecked) return name;
  if (state) name += " state";
  if (extras) name += " D bias softplus";
  if (poisoned) name += " poisoned";
  return name + " decay " + std::to_string(int(fast));
}

int64_t SsdShape::tokens() const {
  int64_t sum = 0;
  for (const int length : lengths) sum += length;
  return sum;
}

SsdProblem::SsdProblem(const SsdShape& s, uint64_t seed) : shape(s) {
  for (const int length : s.lengths) cu.push_back(cu.back() + length);
  const int tokens = cu.back();
  const size_t n = size_t(tokens) * s.heads * kP;
  const size_t nbc = size_t(tokens) * s.groups * s.state_dim;
  const size_t nstate = s.lengths.size() * s.heads * kP * s.state_dim;
  seed *= 16;
  x = NormalBuffer<__nv_bfloat16>(n, seed);
  b = NormalBuffer<__nv_bfloat16>(nbc, seed + 1);
  c = NormalBuffer<__nv_bfloat16>(nbc, seed + 2);
  dy = NormalBuffer<__nv_bfloat16>(n, seed + 3);
  y = Bf16Buffer(n);
  std::vector<float> steps = RandomNormal(size_t(tokens) * s.heads, seed + 4);
  if (!s.extras) {
    for (float& value : steps) value = std::exp(value - 3.5f);
  }
  dt = FloatBuffer(steps);
  bias = NormalBuffer<float>(s.heads, seed + 5, {0.5f, -3, false});
  std::vector<float> decays(s.heads);
  for (int h = 0; h < s.heads; ++h) {
    decays[h] =
        -s.slow * std::pow(s.fast / s.slow, (h + 0.5f) / float(s.heads));
  }
  a = FloatBuffer(decays);
  d = NormalBuffer<float>(s.heads, seed + 6);
  initial = NormalBuffer<float>(nstate, seed + 7);
  dstate = NormalBuffer<float>(nstate, seed + 8);
  final_state = FloatBuffer(nstate);
  cu_device = DeviceBuffer<int32_t>(cu);
  if (s.poisoned) {
    const auto poison = [&](const Bf16Buffer& buffer, int64_t row) {
      Ensure(cudaMemset(buffer.data() + cu[1] * row, 0xFF,
                        2 * row * (cu[2] - cu[1])),
             "memset");
    };
    for (const Bf16Buffer* buffer : {&x, &dy}) poison(*buffer, s.heads * kP);
    for (const Bf16Buffer* buffer : {&b, &c}) {
      poison(*buffer, s.groups * s.state_dim);
    }
  }

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
  args.cu_seqlens = cu_device.data();
  args.sequences = static_cast<int>(s.lengths.size());
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

SsdHead::SsdHead(const SsdProblem& p, int sequence, int head)
    : problem(p),
      sequence(sequence),
      head(head),
      group(head / (p.shape.heads / p.shape.groups)),
      begin(p.cu[sequence]),
      length(p.cu[sequence + 1] - p.cu[sequence]) {
  x_ = Narrow(p.x);
  dy_ = Narrow(p.dy);
  b_ = Wide(p.b);
  c_ = Wide(p.c);
  dt_ = Steps(p.dt);
  a_ = Rows(p.a.data() + head, 1, 0, 1)[0];
  d_ = p.shape.extras ? Rows(p.d.data() + head, 1, 0, 1)[0] : 0.0f;
  bias_ = p.shape.extras ? Rows(p.bias.data() + head, 1, 0, 1)[0] : 0.0f;
}

std::vector<float> SsdHead::Narrow(const Bf16Buffer& tensor) const {
  const int64_t row = int64_t{problem.shape.heads} * kP;
  return Rows(tensor.data() + begin * row + head * kP, length, row, kP);
}

std::vector<float> SsdHead::Steps(const FloatBuffer& tensor) const {
  const int64_t row = problem.shape.heads;
  return Rows(tensor.data() + begin * row + head, length, row, 1);
}

std::vector<float> SsdHead::Wide(const Bf16Buffer& tensor) const {
  const int64_t n = problem.shape.state_dim, row = n * problem.shape.groups;
  return Rows(tensor.data() + begin * row + group * n, length, row, n);
}

std::vector<float> SsdHead::State(const FloatBuffer& states) const {
  const int64_t size = int64_t{kP} * problem.shape.state_dim;
  return Rows(
      states.data() + (int64_t{sequence} * problem.shape.heads + head) * size,
      1, 0, size);
}

SsdHead::Step SsdHead::StepOf(int t) const {
  const double raw = double{dt_[t]} + bias_;
  if (!problem.shape.extras) return {raw, 1};
  return {Softplus(raw), 1 / (1 + std::exp(-raw))};
}

void SsdHead::Advance(int t, std::vector<double>* state) const {
  const int n = problem.shape.state_dim;
  const double d = StepOf(t).d, decay = std::exp(d * a_);
  const float* b = &b_[size_t(t) * n];
  for (int p = 0; p < kP; ++p) {
    const double dx = d * x_[t * kP + p];
    double* row = state->data() + size_t(p) * n;
    for (int i = 0; i < n; ++i) row[i] = decay * row[i] + dx * b[i];
  }
}

void SsdHead::Run(bool gradients) {
  const int n = problem.shape.state_dim;
  y.assign(size_t(length) * kP, 0);
  final_state.assign(size_t(kP) * n, 0);
  if (problem.shape.state) {
    const std::vector<float> initial = State(problem.initial);
    final_state.assign(initial.begin(), initial.end());
  }
  std::vector<double>& s = final_state;
  std::vector<std::vector<double>> kept;
  for (int t = 0; t < length; ++t) {
    if (gradients && t % kKeep == 0) kept.push_back(s);
    Advance(t, &s);
    const float* c = &c_[size_t(t) * n];
    for (int p = 0; p < kP; ++p) {
      double sum = double{d_} * x_[t * kP + p];
      for (int i = 0; i < n; ++i) sum += s[size_t(p) * n + i] * c[i];
      y[size_t(t) * kP + p] = sum;
    }
  }
  if (gradients) Backward(kept);
}

void SsdHead::Backward(const std::vector<std::vector<double>>& kept) {
  const size_t n = problem.shape.state_dim;
  dx.assign(size_t(length) * kP, 0);
  ddt.assign(length, 0);
  db.assign(length * n, 0);
  dc.assign(length * n, 0);
  dstate.assign(kP * n, 0);
  if (problem.shape.state) {
    const std::vector<float> given = State(problem.dstate);
    dstate.assign(given.begin(), given.end());
  }
  std::vector<std::vector<double>> states(kKeep + 1);
  for (int block = static_cast<int>(kept.size()) - 1; block >= 0; --block) {
    const int first = block * kKeep, count = std::min(kKeep, length - first);
    states[0] = kept[block];
    for (int k = 0; k < count; ++k) {
      states[k + 1] = states[k];
      Advance(first + k, &states[k + 1]);
    }
    for (int k = count - 1; k >= 0; --k) {
      BackwardToken(first + k, states[k], states[k + 1], &dstate);
    }
  }
}

void SsdHead::BackwardToken(int t, const std::vector<double>& before,
                            const std::vector<double>& after,
                            std::vector<double>* r) {
  const int n = problem.shape.state_dim;
  const Step step = StepOf(t);
  const double decay = std::exp(step.d * a_);
  const float *b = &b_[size_t(t) * n], *c = &c_[size_t(t) * n];
  double by_decay = 0, by_step = 0;
  for (int p = 0; p < kP; ++p) {
    const double dy = dy_[t * kP + p], x = x_[t * kP + p];
    double rb = 0;
    for (int i = 0; i < n; ++i) {
      double& grad = (*r)[size_t(p) * n + i];
      grad += dy * c[i];
      dc[size_t(t) * n + i] += after[size_t(p) * n + i] * dy;
      db[size_t(t) * n + i] += step.d * x * grad;
      rb += grad * b[i];
      by_decay += grad * before[size_t(p) * n + i];
      grad *= decay;
    }
    dx[size_t(t) * kP + p] = step.d * rb + d_ * dy;
    by_step += x * rb;
    dd += x * dy;
  }
  by_decay *= decay;
  const double raw = (by_step + a_ * by_decay) * step.slope;
  ddt[t] = raw;
  da += step.d * by_decay;
  dbias += raw;
}

}  // namespace intarsia::bench
