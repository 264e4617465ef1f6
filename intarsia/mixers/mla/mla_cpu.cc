// Heads through their own parts of a matrix.
#include "intarsia/autograd/op.h"
#include "intarsia/mixers/mla/mla.h"

namespace intarsia {
namespace {

Tensor Numbers(ThreadPool& pool, const Weight& w) {
  const int64_t k = w.shape()[1];
  if (w.format().storage() == DType::kF32) return w.values().Contiguous();
  return w.format().Dequantize(pool, w.values().Contiguous(), k);
}

// y [T, H, out] = x W or, transposed, W x by head; x's rows are `stride` apart,
// y's `out_stride`, of which the rest is zero.
Tensor Map(ThreadPool& pool, const Tensor& x, const Tensor& w, int64_t heads,
           bool transposed, int64_t out_stride) {
  const int64_t rows = x.dim(0), stride = x.dim(2);
  const int64_t A = w.dim(0) / heads, B = w.dim(1);
  Tensor y = Tensor::Zeros({rows, heads, out_stride});
  pool.For(rows * heads, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = x.data<float>() + i * stride;
      const float* part = w.data<float>() + i % heads * A * B;
      float* to = y.mutable_data<float>() + i * out_stride;
      for (int64_t a = 0; a < A; ++a) {
        const float* row = part + a * B;
        if (transposed) {
          float sum = 0.0f;
          for (int64_t b = 0; b < B; ++b) sum += row[b] * from[b];
          to[a] = sum;
        } else {
          for (int64_t b = 0; b < B; ++b) to[b] += from[a] * row[b];
        }
      }
    }
  });
  return y;
}

}  // namespace

Tensor MapHeads(Context& ctx, const Tensor& x, const Weight& w,
                bool transposed) {
  const int64_t heads = x.dim(1), A = w.shape()[0] / heads, B = w.shape()[1];
  CHECK(w.shape()[0] % heads == 0 &&
        (transposed ? x.dim(2) >= B : x.dim(2) == A))
      << x.shape() << " through " << w.shape();
  const Tensor in = x.Contiguous();
  const Weight* of = &w;
  return Run(
      ctx, CpuOnly("map_heads", "mla"), x.device(), {x},
      [&] {
        return Map(*ctx.pool, in, Numbers(*ctx.pool, w), heads, transposed,
                   transposed ? A : B);
      },
      [=, tape = ctx.tape](Context& back, const std::vector<Tensor>& given) {
        const Tensor dy = given[0].Contiguous();
        tape->QueueWeightGradient(*of, back, [=](Context& later) {
          // dW_h = Σ_t left_t ⊗ right_t.
          Tensor dw = Tensor::Zeros(of->shape());
          const Tensor &left = transposed ? dy : in,
                       &right = transposed ? in : dy;
          later.pool->Run(heads * A, [&](int64_t row) {
            const int64_t h = row / A, a = row % A;
            float* to = dw.mutable_data<float>() + row * B;
            for (int64_t t = 0; t < left.dim(0); ++t) {
              const float factor =
                  left.data<float>()[(t * heads + h) * left.dim(2) + a];
              const float* from =
                  right.data<float>() + (t * heads + h) * right.dim(2);
              for (int64_t b = 0; b < B; ++b) to[b] += factor * from[b];
            }
          });
          return dw;
        });
        return std::vector<Tensor>{Map(*back.pool, dy, Numbers(*back.pool, *of),
                                       heads, !transposed, in.dim(2))};
      });
}

}  // namespace intarsia
