#include "intarsia/ops/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/cross_entropy/cross_entropy_cpu.h"

namespace intarsia {

Tensor CrossEntropy(Context& ctx, const Tensor& logits,
                    std::span<const int32_t> targets) {
  // Of a GPU's logits the loss is computed on the host.
  const Tensor host = logits.To(Cpu());
  CHECK_EQ(logits.rank(), 2);
  CHECK_EQ(static_cast<int64_t>(targets.size()), logits.dim(0));
  const int64_t vocabulary = logits.dim(1);
  int64_t counted = 0;
  for (int32_t target : targets) {
    CHECK_LT(target, vocabulary);
    counted += target >= 0;
  }
  CHECK_GT(counted, 0) << "no row has a target";

  const RowView rows(host);
  std::vector<double> lse(targets.size(), 0.0);
  const auto loss = [&] {
    ForRange(ctx.pool, rows.rows(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        if (targets[t] >= 0) {
          lse[t] = cross_entropy::LogSumExp(vocabulary, rows.row(t));
        }
      }
    });
    double sum = 0;
    for (int64_t t = 0; t < rows.rows(); ++t) {
      if (targets[t] >= 0) sum += lse[t] - double{rows.row(t)[targets[t]]};
    }
    return Tensor::Full({1},
                        static_cast<float>(sum / static_cast<double>(counted)));
  };
  return RunAnywhere(
      ctx, "cross_entropy", {logits}, loss,
      [&](const Tensor&) -> Tape::BackwardFn {
        return [host, device = logits.device(), counted, lse,
                targets = std::vector<int32_t>(targets.begin(), targets.end())](
                   Context& ctx, const std::vector<Tensor>& g) {
          Tensor out = Tensor::Empty(host.shape());
          const RowView rows(host);
          const int64_t n = rows.cols();
          const float factor =
              g[0].data<float>()[0] / static_cast<float>(counted);
          float* to = out.mutable_data<float>();
          ForRange(ctx.pool, rows.rows(), 1, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; ++t) {
              float* row = to + t * n;
              if (targets[t] < 0) {
                std::fill_n(row, n, 0.0f);
                continue;
              }
              cross_entropy::ScaledSoftmax(n, rows.row(t), lse[t], factor, row);
              row[targets[t]] -= factor;
            }
          });
          return std::vector<Tensor>{out.To(device)};
        };
      });
}

}  // namespace intarsia
