// Step sizes and the skip connection.
#include <algorithm>
#include <cmath>

#include "intarsia/mixers/mamba2/mamba2.h"
#include "intarsia/mixers/mamba2/mamba2_vjp.h"

namespace intarsia {
namespace {

constexpr int64_t kRowsPerTask = 4;

Mamba2Steps DiscretizeOnCpu(Context& ctx, const Tensor& raw, const Tensor& x,
                            const Weight& dt_bias, const Weight& a_log,
                            float dt_min, float dt_max) {
  const int64_t rows = x.dim(0), heads = x.dim(1), width = x.dim(2);
  Mamba2Steps steps{Tensor::Empty({rows, heads}), Tensor::Empty(x.shape())};
  const float* bias = dt_bias.f32();
  std::vector<float> a(heads);
  for (int64_t h = 0; h < heads; ++h) a[h] = -std::exp(a_log.f32()[h]);
  ctx.pool->For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i) {
      const int64_t h = i % heads;
      const float step =
          std::clamp(mamba2_internal::Softplus(raw.data<float>()[i] + bias[h]),
                     dt_min, dt_max);
      steps.log_decay.mutable_data<float>()[i] = step * a[h];
      const float* from = x.data<float>() + i * width;
      float* to = steps.value.mutable_data<float>() + i * width;
      for (int64_t p = 0; p < width; ++p) to[p] = step * from[p];
    }
  });
  return steps;
}

Tensor AddSkipOnCpu(Context& ctx, const Tensor& y, const Tensor& x,
                    const Weight& d) {
  const int64_t rows = x.dim(0), heads = x.dim(1), width = x.dim(2);
  Tensor out = Tensor::Empty(x.shape());
  ctx.pool->For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i) {
      const float factor = d.f32()[i % heads];
      const float* a = y.data<float>() + i * width;
      const float* b = x.data<float>() + i * width;
      float* to = out.mutable_data<float>() + i * width;
      for (int64_t p = 0; p < width; ++p) to[p] = a[p] + factor * b[p];
    }
  });
  return out;
}

}  // namespace

Mamba2Steps Discretize(Context& ctx, const Tensor& raw, const Tensor& x,
                       const Weight& dt_bias, const Weight& a_log, float dt_min,
                       float dt_max) {
  CHECK(raw.shape() == Shape({x.dim(0), x.dim(1)}))
      << "steps " << raw.shape() << ", x " << x.shape();
  const Tensor in = x.Contiguous(), raw_in = raw.Contiguous();
  return Run(
      ctx, mamba2_internal::Door("mamba2_discretize"), x.device(), {raw, x},
      [&] {
        return DiscretizeOnCpu(ctx, raw_in, in, dt_bias, a_log, dt_min, dt_max);
      },
      [&](const mamba2_cuda::Kernels& cuda) {
        return cuda.discretize(ctx, raw_in, in, dt_bias, a_log, dt_min, dt_max);
      },
      [&](const Mamba2Steps&) {
        return mamba2_internal::DiscretizeVjp(ctx.tape, raw_in, in, dt_bias,
                                              a_log, dt_min, dt_max);
      });
}

Tensor AddSkip(Context& ctx, const Tensor& y, const Tensor& x,
               const Weight& d) {
  CHECK(y.shape() == x.shape()) << "y " << y.shape() << ", x " << x.shape();
  const Tensor in = x.Contiguous(), core = y.Contiguous();
  return Run(
      ctx, mamba2_internal::Door("mamba2_skip"), x.device(), {y, x},
      [&] { return AddSkipOnCpu(ctx, core, in, d); },
      [&](const mamba2_cuda::Kernels& cuda) {
        return cuda.add_skip(ctx, core, in, d);
      },
      [&](const Tensor&) { return mamba2_internal::SkipVjp(ctx.tape, in, d); });
}

GatedLinearResult Mamba2Core(Context& ctx, const Tensor& b, const Tensor& c,
                             const Mamba2Steps& steps, const Tensor& state_in,
                             int chunk) {
  GatedLinearOptions options;
  options.chunk = chunk;
  options.value_major = true;
  return GatedLinear(ctx, c, b, steps.value, steps.log_decay, state_in,
                     options);
}

}  // namespace intarsia
