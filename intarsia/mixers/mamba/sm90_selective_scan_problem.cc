#include <algorithm>
#include <cmath>

#include "intarsia/mixers/mamba/sm90_selective_scan_bench.h"

namespace intarsia::bench {
namespace {
constexpr int kN = kScanStateDim;
}  // namespace

std::string ScanShape::Name() const {
  const bool even = std::count(lengths.begin(), lengths.end(), lengths[0]) ==
                    static_cast<int64_t>(lengths.size());
  return "B" + std::to_string(lengths.size()) + " T" +
         std::to_string(longest()) + (even ? "" : " ragged") + " D" +
         std::to_string(channels) + (z ? " z" : "") + (state ? " state" : "") +
         (softplus ? "" : " no softplus");
}

int64_t ScanShape::tokens() const {
  int64_t sum = 0;
  for (const int length : lengths) sum += length;
  return sum;
}

int64_t ScanShape::longest() const {
  return *std::max_element(lengths.begin(), lengths.end());
}

std::vector<ScanShape> ScanShape::All(bool quick) {
  using Use = GpuCase::Use;
  std::vector<ScanShape> shapes = {
      {{1}, 2, true, true},
      {{9}, 64, true, false},
      {{1, 0, 63, 64, 65, 300}, 72, true, true},
      {{17, 200}, 130, false, true},
  };
  if (quick) {
    shapes.push_back(
        {{1024, 1024}, 512, true, false, true, GpuCase::Use::kTable});
    return shapes;
  }
  shapes.push_back({{1500}, 64, true, false});
  shapes.push_back({{700, 300}, 192, true, true, false});
  shapes.push_back({std::vector<int>(70, 3), 256, true, true});
  const std::vector<int> batch(8, 4096);
  shapes.push_back({batch, 4096, true, false, true, Use::kTable});
  shapes.push_back({batch, 4096, false, false, true, Use::kTimed});
  shapes.push_back({{32768}, 4096, true, false, true, Use::kTable});
  shapes.push_back({{32768}, 4096, false, false, true, Use::kTimed});
  return shapes;
}

ScanProblem::ScanProblem(const ScanShape& s, uint64_t seed) : shape(s) {
  for (const int length : s.lengths) cu.push_back(cu.back() + length);
  const size_t n = size_t(cu.back()) * s.channels;
  const size_t nbc = size_t(cu.back()) * kN;
  seed *= 16;
  x = NormalBuffer<__nv_bfloat16>(n, seed);
  dt = NormalBuffer<__nv_bfloat16>(
      n, seed + 1, s.softplus ? Normal{1.5f, 0, false} : Normal{0.2f, 0, true});
  z = NormalBuffer<__nv_bfloat16>(n, seed + 2);
  b = NormalBuffer<__nv_bfloat16>(nbc, seed + 3);
  c = NormalBuffer<__nv_bfloat16>(nbc, seed + 4);
  std::vector<float> decays = RandomNormal(size_t(s.channels) * kN, seed + 5);
  for (float& value : decays) value = -std::exp(1.5f * value);
  a = FloatBuffer(decays);
  d = NormalBuffer<float>(s.channels, seed + 6);
  bias = NormalBuffer<float>(
      s.channels, seed + 7,
      s.softplus ? Normal{1, -2, false} : Normal{0, 0.01f, false});
  state = NormalBuffer<float>(s.lengths.size() * s.channels * kN, seed + 8);
  cu_device = DeviceBuffer<int32_t>(cu);
}

void ScanProblem::SetInputs(Sm90SelectiveScanInputs* args) const {
  args->x = x.data();
  args->dt = dt.data();
  args->b = b.data();
  args->c = c.data();
  args->z = shape.z ? z.data() : nullptr;
  args->a = a.data();
  args->d = d.data();
  args->dt_bias = bias.data();
  args->cu_seqlens = cu.size() == 2 ? nullptr : cu_device.data();
  args->sequences = static_cast<int>(shape.lengths.size());
  args->tokens = cu.back();
  args->channels = shape.channels;
  args->state_dim = kN;
  args->x_stride = args->dt_stride = args->z_stride = shape.channels;
  args->b_stride = args->c_stride = kN;
  args->softplus = shape.softplus;
}

ScanPart::ScanPart(const ScanProblem& p, int q, int from, int count)
    : problem(p),
      sequence(q),
      first(from),
      channels(count),
      begin(p.cu[q]),
      length(p.cu[q + 1] - p.cu[q]) {
  x = Gather(p.x);
  dt = Gather(p.dt);
  z = Gather(p.z);
  b = Rows(p.b.data() + int64_t{begin} * kN, 1, 0, int64_t{length} * kN);
  c = Rows(p.c.data() + int64_t{begin} * kN, 1, 0, int64_t{length} * kN);
  a = Rows(p.a.data() + first * kN, 1, 0, channels * kN);
  d = Rows(p.d.data() + first, 1, 0, channels);
  bias = Rows(p.bias.data() + first, 1, 0, channels);
  state = GatherState(p.state);
}

std::vector<float> ScanPart::Gather(const Bf16Buffer& tensor) const {
  const int64_t width = problem.shape.channels;
  return Rows(tensor.data() + begin * width + first, length, width, channels);
}

int64_t ScanPart::state_offset(int slot) const {
  return (int64_t{slot} * problem.shape.channels + first) * kN;
}

std::vector<float> ScanPart::GatherState(const FloatBuffer& states) const {
  return Rows(states.data() + state_offset(sequence), 1, 0, channels * kN);
}

double ScanPart::Step(int t, int channel) const {
  const double v = double{dt[t * channels + channel]} + bias[channel];
  return problem.shape.softplus ? Softplus(v) : v;
}

std::vector<double> ScanPart::States(int channel) const {
  std::vector<double> h(size_t(length + 1) * kN, 0.0);
  for (int n = 0; problem.shape.state && n < kN; ++n) {
    h[n] = state[channel * kN + n];
  }
  for (int t = 0; t < length; ++t) {
    const double step = Step(t, channel), input = x[t * channels + channel];
    for (int n = 0; n < kN; ++n) {
      const size_t at = size_t(t) * kN + n;
      h[at + kN] =
          std::exp(step * a[channel * kN + n]) * h[at] + step * b[at] * input;
    }
  }
  return h;
}

double ScanPart::Output(int t, int channel,
                        const std::vector<double>& h) const {
  double y = double{d[channel]} * x[t * channels + channel];
  for (int n = 0; n < kN; ++n) {
    y += c[size_t(t) * kN + n] * h[size_t(t + 1) * kN + n];
  }
  return y;
}

bool IsComplete(const ScanShape& shape) {
  return shape.tokens() * shape.channels < 1000000;
}

std::vector<ScanPart> ScanParts(const ScanProblem& problem) {
  const int all = problem.shape.channels;
  const bool complete = IsComplete(problem.shape);
  const int width = complete ? all : 16, blocks = all / width;
  const int64_t items =
      static_cast<int64_t>(problem.shape.lengths.size()) * blocks;
  std::vector<ScanPart> parts;
  for (const int64_t item : Sample(items, complete ? items : 4)) {
    parts.emplace_back(problem, static_cast<int>(item / blocks),
                       static_cast<int>(item % blocks) * width, width);
  }
  return parts;
}

}  // namespace intarsia::bench
