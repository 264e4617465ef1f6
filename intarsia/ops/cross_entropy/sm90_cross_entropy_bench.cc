// Cross entropy: the loss alone, and with the gradient over the logits.
#include "intarsia/ops/cross_entropy/sm90_cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "intarsia/cuda/bench/device_data.h"

namespace intarsia::bench {
namespace {

constexpr float kScale = 0.25f;

struct Shape {
  int rows, vocabulary;
  bool gradient;
  GpuCase::Use use = GpuCase::Use::kChecked;
};

struct Problem {
  Problem(const Shape& s, uint64_t seed)
      : shape(s),
        logits(NormalBuffer<__nv_bfloat16>(size_t(s.rows) * s.vocabulary, seed,
                                           {3, 0, false})),
        loss(s.rows),
        lse(s.rows) {
    for (int i = 0; i < s.rows; ++i) {
      labels.push_back(i % 5 == 3 ? -100
                                  : int((i * 7919LL + 1) % s.vocabulary));
    }
    if (s.rows > 1) labels[1] = s.vocabulary - 1;
    labels_device = DeviceBuffer<int32_t>(labels);
    args.logits = logits.data();
    args.labels = labels_device.data();
    args.loss = loss.data();
    args.lse = lse.data();
    args.rows = s.rows;
    args.vocabulary = s.vocabulary;
    args.row_stride = s.vocabulary;
    args.gradient_scale = kScale;
    args.write_gradient = s.gradient;
  }
  // A repeated gradient writes over its own output: after the first run the
  // logits are small numbers, which costs the same.
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90CrossEntropy(args, stream), "cross entropy");
  }
  std::vector<float> Row(int64_t row) const {
    return Rows(logits.data() + row * shape.vocabulary, 1, 0, shape.vocabulary);
  }
  Shape shape;
  std::vector<int32_t> labels;
  Bf16Buffer logits;
  FloatBuffer loss, lse;
  DeviceBuffer<int32_t> labels_device;
  Sm90CrossEntropyArgs args;
};

std::vector<OutputError> Compare(const Problem& p) {
  const std::vector<int64_t> rows = Sample(p.shape.rows, 64);
  std::vector<std::vector<float>> before;
  for (const int64_t row : rows) before.push_back(p.Row(row));
  p.Launch(nullptr);
  ErrorNorm loss, lse, after;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<float>& x = before[i];
    const int label = p.labels[rows[i]];
    const bool counted = label >= 0 && label < p.shape.vocabulary;
    const double max = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float value : x) sum += std::exp(value - max);
    const double want = max + std::log(sum);
    lse.Add(Rows(p.lse.data() + rows[i], 1, 0, 1)[0], want);
    loss.Add(Rows(p.loss.data() + rows[i], 1, 0, 1)[0],
             counted ? want - x[label] : 0);
    std::vector<double> logits(x.begin(), x.end());
    for (int v = 0; p.shape.gradient && v < p.shape.vocabulary; ++v) {
      logits[v] = counted ? kScale * (std::exp(x[v] - want) - (v == label)) : 0;
    }
    after.Add(p.Row(rows[i]), logits);
  }
  return {loss.Relative("loss", 1e-5), lse.Relative("log-sum-exp", 1e-5),
          p.shape.gradient ? after.Relative("gradient", 4e-3)
                           : after.Relative("logits as they were", 0)};
}

}  // namespace

std::vector<GpuCase> sm90_cross_entropy(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes;
  for (const bool gradient : {false, true}) {
    for (const auto& [rows, vocabulary] : {std::pair(1, 8),
                                           {7, 1001},
                                           {9, 32000},
                                           {6, 50257},
                                           {6, 50304},
                                           {5, 128256},
                                           {3, 151936},
                                           {2, 262144}}) {
      shapes.push_back({rows, vocabulary, gradient});
    }
    if (quick) {
      shapes.push_back({512, 32000, gradient, Use::kTable});
    } else {
      shapes.push_back({8192, 128256, gradient, Use::kTable});
      shapes.push_back({8192, 50304, gradient, Use::kTimed});
      shapes.push_back({16384, 32000, gradient, Use::kTimed});
    }
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) {
    GpuCase c;
    c.name =
        s.gradient ? "cross_entropy.sm90.gradient" : "cross_entropy.sm90.loss";
    c.shape = std::to_string(s.rows) + " x " + std::to_string(s.vocabulary);
    c.bytes = (s.gradient ? 4.0 : 2.0) * s.rows * s.vocabulary;
    c.use = s.use;
    c.prepare = PrepareWith<Problem>(s, &Compare);
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace intarsia::bench
