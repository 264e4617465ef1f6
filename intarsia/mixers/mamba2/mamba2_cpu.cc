// Step sizes and the skip connection.
#include <algorithm>
#include <cmath>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/mamba2/mamba2.h"
#include "intarsia/mixers/mamba2/mamba2_cuda.h"
#include "intarsia/mixers/mamba2/mamba2_vjp.h"

namespace intarsia {
namespace {

constexpr int64_t kRowsPerTask = 4;

OpDoor<mamba2_cuda::Kernels> Door(const char* name) {
  return {name, "mamba2", mamba2_cuda::kernels, Differentiable::kOnCpu};
}

float Softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

}  // namespace

Mamba2Steps Discretize(Context& ctx, const Tensor& raw, const Tensor& x,
                       const Weight& dt_bias, const Weight& a_log, float dt_min,
                       float dt_max) {
  const int64_t rows = x.dim(0), heads = x.dim(1), width = x.dim(2);
  CHECK(raw.shape() == Shape({rows, heads}))
      << "steps " << raw.shape() << ", x " << x.shape();
  CheckDifferentiable(ctx, x.device(), Door("discretize"));
  const Tensor in = x.Contiguous(), raw_in = raw.Contiguous();
  if (x.device().is_cuda()) {
    return RequireKernels(mamba2_cuda::kernels, "mamba2")
        .discretize(ctx, raw_in, in, dt_bias, a_log, dt_min, dt_max);
  }
  Mamba2Steps steps;
  steps.log_decay = Tensor::Empty({rows, heads});
  steps.value = Tensor::Empty(x.shape());
  Tensor delta = Tensor::Empty({rows, heads});
  const float* bias = dt_bias.f32();
  std::vector<float> a(heads);
  for (int64_t h = 0; h < heads; ++h) a[h] = -std::exp(a_log.f32()[h]);
  ctx.pool->For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i) {
      const int64_t h = i % heads;
      const float step = std::clamp(Softplus(raw_in.data<float>()[i] + bias[h]),
                                    dt_min, dt_max);
      delta.mutable_data<float>()[i] = step;
      steps.log_decay.mutable_data<float>()[i] = step * a[h];
      const float* from = in.data<float>() + i * width;
      float* to = steps.value.mutable_data<float>() + i * width;
      for (int64_t p = 0; p < width; ++p) to[p] = step * from[p];
    }
  });
  if (ctx.tape != nullptr) {
    RecordDiscretize(ctx, raw, x, dt_bias, a_log, delta, dt_min, dt_max,
                     &steps);
  }
  return steps;
}

Tensor AddSkip(Context& ctx, const Tensor& y, const Tensor& x,
               const Weight& d) {
  CHECK(y.shape() == x.shape()) << "y " << y.shape() << ", x " << x.shape();
  CheckDifferentiable(ctx, x.device(), Door("skip"));
  const int64_t rows = x.dim(0), heads = x.dim(1), width = x.dim(2);
  const Tensor in = x.Contiguous(), core = y.Contiguous();
  if (x.device().is_cuda()) {
    return RequireKernels(mamba2_cuda::kernels, "mamba2")
        .add_skip(ctx, core, in, d);
  }
  Tensor out = Tensor::Empty(x.shape());
  ctx.pool->For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; ++i) {
      const float factor = d.f32()[i % heads];
      const float* a = core.data<float>() + i * width;
      const float* b = in.data<float>() + i * width;
      float* to = out.mutable_data<float>() + i * width;
      for (int64_t p = 0; p < width; ++p) to[p] = a[p] + factor * b[p];
    }
  });
  if (ctx.tape != nullptr) RecordAddSkip(ctx, y, x, d, &out);
  return out;
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
