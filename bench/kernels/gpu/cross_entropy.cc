// Cross entropy: the loss alone, and with the gradient over the logits.
#include "intarsia/ops/cross_entropy/sm90_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"

namespace intarsia::bench {
namespace {

struct Reference {
  std::vector<double> loss, lse, gradient;
};

Reference Compute(const std::vector<float>& logits,
                  const std::vector<int32_t>& labels, int vocabulary,
                  double scale) {
  Reference r;
  r.gradient.resize(logits.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    const float* row = &logits[i * vocabulary];
    const double max = *std::max_element(row, row + vocabulary);
    double sum = 0;
    for (int v = 0; v < vocabulary; ++v) sum += std::exp(row[v] - max);
    const bool counted = labels[i] >= 0 && labels[i] < vocabulary;
    r.lse.push_back(max + std::log(sum));
    r.loss.push_back(counted ? r.lse.back() - row[labels[i]] : 0);
    for (int v = 0; v < vocabulary; ++v) {
      const double p = std::exp(row[v] - r.lse.back());
      r.gradient[i * vocabulary + v] =
          counted ? scale * (p - (v == labels[i])) : 0;
    }
  }
  return r;
}

void Check(const Options& options, Report* report, int rows, int vocabulary) {
  const std::string name =
      std::to_string(rows) + "x" + std::to_string(vocabulary);
  if (!Wanted(options, name)) return;
  const std::vector<float> logits =
      RandomBf16(size_t(rows) * vocabulary, options.seed, 3);
  std::vector<int32_t> labels(rows);
  for (int i = 0; i < rows; ++i) {
    labels[i] = i % 5 == 3 ? -100 : int((i * 7919LL + 1) % vocabulary);
  }
  if (rows > 1) labels[1] = vocabulary - 1;
  const float scale = 0.25f;
  const Reference reference = Compute(logits, labels, vocabulary, scale);
  for (const bool gradient : {false, true}) {
    DeviceBuffer<__nv_bfloat16> dlogits(ToBf16(logits));
    DeviceBuffer<int32_t> dlabels(labels);
    DeviceBuffer<float> dloss(rows), dlse(rows);
    Sm90CrossEntropyArgs args;
    args.logits = dlogits.data();
    args.labels = dlabels.data();
    args.loss = dloss.data();
    args.lse = dlse.data();
    args.rows = rows;
    args.vocabulary = vocabulary;
    args.row_stride = vocabulary;
    args.gradient_scale = scale;
    args.write_gradient = gradient;
    INTARSIA_BENCH_CUDA(LaunchSm90CrossEntropy(args, nullptr));
    const std::string full = name + (gradient ? " gradient" : " loss only");
    CheckClose(report, "cross_entropy", full + ": loss", dloss.Download(),
               reference.loss, 1e-5);
    CheckClose(report, "cross_entropy", full + ": lse", dlse.Download(),
               reference.lse, 1e-5);
    CheckClose(report, "cross_entropy", full + ": logits after",
               ToFloat(dlogits.Download()),
               gradient ? reference.gradient : ToDouble(logits),
               gradient ? 4e-3 : 0);
  }
}

void Time(const Options& options, Report* report, int rows, int vocabulary) {
  const size_t n = size_t(rows) * vocabulary;
  DeviceBuffer<__nv_bfloat16> logits(n);
  FillNormal(logits.data(), n, 1);
  std::vector<int32_t> host(rows);
  for (int i = 0; i < rows; ++i) host[i] = int(i * 7919LL % vocabulary);
  DeviceBuffer<int32_t> labels(host);
  DeviceBuffer<float> loss(rows);
  Sm90CrossEntropyArgs args;
  args.logits = logits.data();
  args.labels = labels.data();
  args.loss = loss.data();
  args.rows = rows;
  args.vocabulary = vocabulary;
  args.row_stride = vocabulary;
  // The repeated gradient writes over its own output: after the first run the
  // logits are small numbers, which costs the same.
  Sm90CrossEntropyArgs with = args;
  with.write_gradient = true;
  const std::string name =
      std::to_string(rows) + "x" + std::to_string(vocabulary);
  TimeBesideCopy(options, report, "cross_entropy",
                 {{name + " loss only", 2.0 * n,
                   [=](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(LaunchSm90CrossEntropy(args, stream));
                   }},
                  {name + " gradient", 4.0 * n, [=](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(LaunchSm90CrossEntropy(with, stream));
                   }}});
}

}  // namespace

void CrossEntropyFamily(const Options& options, Report* report) {
  if (options.check) {
    Check(options, report, 1, 8);
    Check(options, report, 7, 1001);
    Check(options, report, 9, 32000);
    Check(options, report, 6, 50257);
    Check(options, report, 6, 50304);
    Check(options, report, 5, 128256);
    Check(options, report, 3, 151936);
    Check(options, report, 2, 262144);
  }
  if (!options.time) return;
  Time(options, report, 8192, 128256);
  if (options.quick) return;
  Time(options, report, 8192, 50304);
  Time(options, report, 16384, 32000);
}

}  // namespace intarsia::bench
