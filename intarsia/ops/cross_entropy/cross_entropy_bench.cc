#include <cmath>

#include "intarsia/ops/common/bench.h"
#include "intarsia/ops/cross_entropy/cross_entropy.h"

namespace intarsia::bench {

std::vector<KernelBench> cross_entropy(bool quick) {
  const int64_t rows = quick ? 5 : 128, vocab = quick ? 101 : 49152;
  return {{.name = "cross_entropy.loss",
           .shape = Shape({rows, vocab}).ToString(),
           .bytes = 4.0 * rows * vocab,
           .flops = 3.0 * rows * vocab,
           .prepare = [=](const Context& ctx) {
             const Tensor logits = BenchValues({rows, vocab}, 1, 8);
             std::vector<int32_t> targets(rows);
             for (int64_t t = 0; t < rows; ++t) {
               targets[t] = static_cast<int32_t>(t * 37 % vocab);
             }
             return CheckedRun(
                 [ctx = ctx, in = logits.To(ctx.device), targets]() mutable {
                   return CrossEntropy(ctx, in, targets);
                 },
                 [=] {
                   double loss = 0;
                   for (int64_t t = 0; t < rows; ++t) {
                     const float* row = logits.data<float>() + t * vocab;
                     double sum = 0;
                     for (int64_t i = 0; i < vocab; ++i) {
                       sum += std::exp(double{row[i]} - row[targets[t]]);
                     }
                     loss += std::log(sum) / double(rows);
                   }
                   return std::vector<double>{loss};
                 });
           }}};
}

}  // namespace intarsia::bench
