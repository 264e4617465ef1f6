#include "intarsia/ops/common/bench.h"
#include "intarsia/ops/conv1d/conv1d.h"

namespace intarsia::bench {
namespace {

constexpr int64_t kWidth = 4;

// Each segment follows the inputs in `state` [N, C, W−1], or zeros.
std::vector<double> Plain(const Batch& batch, const Tensor& x, const Tensor& w,
                          const Tensor& state) {
  const int64_t channels = x.dim(1);
  std::vector<double> y(x.numel());
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
      for (int64_t c = 0; c < channels; ++c) {
        double sum = 0;
        for (int64_t j = 0; j < kWidth; ++j) {
          const int64_t row = t - (kWidth - 1) + j, past = row - batch.begin(n);
          double value = 0;
          if (past >= 0) {
            value = x.data<float>()[row * channels + c];
          } else if (state.defined()) {
            value = state.data<float>()[(n * channels + c) * (kWidth - 1) +
                                        kWidth - 1 + past];
          }
          sum += value * w.data<float>()[c * kWidth + j];
        }
        y[t * channels + c] = ReferenceActivation(Activation::kSilu, sum);
      }
    }
  }
  return y;
}

// `sequences` of `length` tokens; with `stored` they go on from a state.
KernelBench Row(const char* name, int64_t sequences, int64_t length,
                int64_t channels, bool stored) {
  const int64_t tokens = sequences * length;
  const double state = stored ? double(sequences * channels * (kWidth - 1)) : 0;
  return {.name = name,
          .shape = Shape({sequences, length, channels}).ToString(),
          .bytes = 8.0 * (tokens * channels + state),
          .flops = 2.0 * tokens * channels * kWidth,
          .prepare = [=](const Context& ctx) {
            Batch batch = Batch::OfLengths(
                std::vector<int32_t>(sequences, static_cast<int32_t>(length)));
            if (ctx.device.is_cuda()) batch.Upload(ctx.device);
            const Tensor x = BenchValues({tokens, channels}, 1);
            const Tensor w = BenchValues({channels, kWidth}, 2);
            Tensor before;
            if (stored)
              before = BenchValues({sequences, channels, kWidth - 1}, 3);
            Tensor kept;
            if (stored) kept = before.Clone().To(ctx.device);
            return CheckedRun(
                [ctx = ctx, batch, kept, in = x.To(ctx.device),
                 weight = WeightOf(ctx, w)]() mutable {
                  ctx.batch = &batch;
                  return CausalConv1d(ctx, in, weight, nullptr,
                                      Activation::kSilu, kept);
                },
                [=] { return Plain(batch, x, w, before); });
          }};
}

}  // namespace

std::vector<KernelBench> conv1d(bool quick) {
  const int64_t channels = quick ? 40 : 1536;
  return {Row("conv1d.prefill", 1, quick ? 9 : 2048, channels, false),
          Row("conv1d.decode", 16, 1, channels, true)};
}

}  // namespace intarsia::bench
