#include "intarsia/ops/common/bench.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia::bench {
namespace {

// Every token in two places, as two experts a token would have it.
std::vector<int32_t> Places(int64_t tokens) {
  std::vector<int32_t> rows;
  for (int64_t i = 0; i < 2 * tokens; ++i) {
    rows.push_back(static_cast<int32_t>(i * 7 % tokens));
  }
  return rows;
}

KernelBench Gather(int64_t tokens, int64_t dim) {
  return {.name = "rows.gather",
          .shape = Shape({2 * tokens, dim}).ToString(),
          .bytes = 16.0 * tokens * dim,
          .prepare = [=](const Context& ctx) {
            const Tensor x = BenchValues({tokens, dim}, 1);
            return CheckedRun(
                [ctx = ctx, in = x.To(ctx.device),
                 rows = Places(tokens)]() mutable {
                  return GatherRows(ctx, in, rows);
                },
                [=] {
                  std::vector<double> want;
                  for (int32_t row : Places(tokens)) {
                    const float* from = x.data<float>() + row * dim;
                    want.insert(want.end(), from, from + dim);
                  }
                  return want;
                });
          }};
}

KernelBench Combine(int64_t tokens, int64_t dim) {
  return {.name = "rows.combine",
          .shape = Shape({2 * tokens, dim}).ToString(),
          .bytes = 12.0 * tokens * dim,
          .flops = 4.0 * tokens * dim,
          .prepare = [=](const Context& ctx) {
            const Tensor x = BenchValues({2 * tokens, dim}, 1);
            const Tensor weights = BenchValues({2 * tokens}, 2);
            return CheckedRun(
                [ctx = ctx, in = x.To(ctx.device), w = weights.To(ctx.device),
                 rows = Places(tokens), tokens]() mutable {
                  return CombineRows(ctx, in, rows, w, tokens);
                },
                [=] {
                  std::vector<double> want(tokens * dim);
                  const std::vector<int32_t> rows = Places(tokens);
                  for (int64_t i = 0; i < 2 * tokens; ++i) {
                    const double w = weights.data<float>()[i];
                    for (int64_t c = 0; c < dim; ++c) {
                      want[rows[i] * dim + c] +=
                          w * x.data<float>()[i * dim + c];
                    }
                  }
                  return want;
                });
          }};
}

}  // namespace

std::vector<KernelBench> rows(bool quick) {
  const int64_t tokens = quick ? 9 : 1024, dim = quick ? 40 : 1024;
  return {Gather(tokens, dim), Combine(tokens, dim)};
}

}  // namespace intarsia::bench
