// Linear layers by format at the rows of decode, a batch of decodes and
// prefill; the experts' product; the dense product of training.
#include <algorithm>
#include <memory>

#include "intarsia/formats/packing.h"
#include "intarsia/ops/common/bench.h"
#include "intarsia/ops/matmul/matmul.h"

namespace intarsia::bench {
namespace {

struct Sizes {
  int64_t m, n, k;
  std::string ToString() const {
    return std::to_string(m) + " x " + std::to_string(n) + " x " +
           std::to_string(k);
  }
  double flops() const { return 2.0 * m * n * k; }
  double in_and_out() const { return 4.0 * m * (n + k); }
};

// The first rows of x [., K] times w [N, K]ᵀ, as many as take a moment.
std::vector<double> Product(const Tensor& x, const float* w, const Sizes& s) {
  const int64_t rows =
      std::clamp<int64_t>((int64_t{1} << 25) / (s.n * s.k), 1, s.m);
  std::vector<double> y(rows * s.n);
  for (int64_t i = 0; i < rows * s.n; ++i) {
    const float* a = x.data<float>() + i / s.n * s.k;
    const float* b = w + i % s.n * s.k;
    for (int64_t c = 0; c < s.k; ++c) y[i] += double{a[c]} * b[c];
  }
  return y;
}

// `packed`: of weights in the order that this CPU reads (formats/packing.h).
KernelBench LinearRow(const Format& format, const Sizes& s, bool packed) {
  return {.name = "matmul." + std::string(format.name()) +
                  (packed ? ".packed" : "") + ".m" + std::to_string(s.m),
          .shape = s.ToString(),
          .bytes = double(s.n) * double(format.row_bytes(s.k)) + s.in_and_out(),
          .flops = s.flops(),
          // Integer products round activations to 15 bits.
          .tolerance = format.block() == 1 && !packed ? 1e-5 : 1e-3,
          .prepare = [=, &format](const Context& ctx) {
            if (packed && !ctx.device.is_cpu()) {
              throw EngineError("packed weights are the CPU's");
            }
            const Tensor x = BenchValues({s.m, s.k}, 1);
            Weight w = WeightOf(ctx, BenchValues({s.n, s.k}, 2), format);
            if (packed) {
              w.set_packed(std::make_shared<PackedMatrices>(
                  *ctx.pool, format, w.values().raw(), 1, s.n, s.k));
            }
            return CheckedRun([ctx = ctx, in = x.To(ctx.device),
                               w]() mutable { return Linear(ctx, in, w); },
                              [=, &format, pool = ctx.pool] {
                                const Tensor exact = format.Dequantize(
                                    *pool, w.values().To(Cpu()), s.k);
                                return Product(x, exact.data<float>(), s);
                              });
          }};
}

// m rows, a share of them for each of eight experts.
KernelBench ExpertsRow(const Sizes& s) {
  constexpr int64_t kExperts = 8;
  return {
      .name = "matmul.grouped",
      .shape = "8 experts, " + s.ToString(),
      .bytes = 4.0 * kExperts * s.n * s.k + s.in_and_out(),
      .flops = s.flops(),
      .prepare = [=](const Context& ctx) {
        const Tensor x = BenchValues({s.m, s.k}, 1);
        const Tensor values = BenchValues({kExperts, s.n, s.k}, 2);
        std::vector<int32_t> offsets;
        for (int64_t e = 0; e <= kExperts; ++e) {
          offsets.push_back(static_cast<int32_t>(e * s.m / kExperts));
        }
        return CheckedRun(
            [ctx = ctx, in = x.To(ctx.device), w = WeightOf(ctx, values),
             offsets]() mutable { return GroupedLinear(ctx, in, w, offsets); },
            [=] {  // the first expert's
              return Product(x, values.data<float>(), {offsets[1], s.n, s.k});
            });
      }};
}

KernelBench DenseRow(const Sizes& s) {
  return {
      .name = "matmul.dense",
      .shape = s.ToString(),
      .bytes = 4.0 * s.n * s.k + s.in_and_out(),
      .flops = s.flops(),
      .prepare = [=](const Context& ctx) {
        const Tensor x = BenchValues({s.m, s.k}, 1);
        const Tensor w = BenchValues({s.n, s.k}, 2);
        return CheckedRun(
            [ctx = ctx, in = x.To(ctx.device), b = w.To(ctx.device)]() mutable {
              return DenseMatmul(ctx, in, false, b, true);
            },
            [=] { return Product(x, w.data<float>(), s); });
      }};
}

}  // namespace

std::vector<KernelBench> matmul(bool quick) {
  std::vector<KernelBench> all;
  for (const Format* format : AllFormats()) {
    for (int64_t m : {1, 16, 512}) {
      // A matrix that no cache holds, until arithmetic is what takes the time.
      Sizes s = m > 16 ? Sizes{m, 1536, 576} : Sizes{m, 16384, 2048};
      if (quick) s = {m, 36, 96};
      s.k = format->WholeBlocks(s.k);
      all.push_back(LinearRow(*format, s, false));
      if (PackedMatrices::Bytes(*format, 1, s.n, s.k) != 0) {
        all.push_back(LinearRow(*format, s, true));
      }
    }
  }
  all.push_back(ExpertsRow(quick ? Sizes{20, 36, 96} : Sizes{1024, 1536, 576}));
  all.push_back(DenseRow(quick ? Sizes{20, 36, 96} : Sizes{512, 1536, 576}));
  return all;
}

}  // namespace intarsia::bench
