// Decays, and gates of heads.
#include <cmath>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/delta/delta.h"
#include "intarsia/mixers/delta/delta_cuda.h"
#include "intarsia/mixers/delta/delta_vjp.h"

namespace intarsia {
namespace {

constexpr int64_t kRowsPerTask = 4;

OpDoor<delta_cuda::Kernels> Door(const char* name) {
  return {name, "delta", delta_cuda::kernels, Differentiable::kOnCpu};
}

float Softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

}  // namespace

Tensor LogDecays(Context& ctx, const Tensor& raw, const Weight& dt_bias,
                 const Weight& a_log, float floor) {
  const int64_t rows = raw.dim(0), width = raw.dim(1);
  const int64_t heads = a_log.shape()[0], channels = width / heads;
  CHECK(raw.rank() == 2 && dt_bias.shape().numel() == width &&
        width % heads == 0)
      << "decays " << raw.shape() << " of " << heads << " heads";
  const Tensor in = raw.Contiguous();
  const auto cpu = [&] {
    Tensor out = Tensor::Empty(in.shape());
    ctx.pool->For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * width; i < end * width; ++i) {
        const float a = std::exp(a_log.f32()[i % width / channels]);
        const float s = in.data<float>()[i] + dt_bias.f32()[i % width];
        out.mutable_data<float>()[i] =
            floor < 0.0f ? floor / (1.0f + std::exp(-a * s)) : -a * Softplus(s);
      }
    });
    return out;
  };
  return Run(
      ctx, Door("delta_log_decays"), raw.device(), {raw}, cpu,
      [&](const delta_cuda::Kernels& cuda) {
        return cuda.log_decays(ctx, in, dt_bias, a_log, floor);
      },
      [&](const Tensor& out) {
        return delta_internal::LogDecaysVjp(ctx.tape, in, dt_bias, a_log, floor,
                                            out);
      });
}

Tensor GateHeads(Context& ctx, const Tensor& x, const Tensor& gate) {
  const int64_t rows = x.dim(0), groups = x.dim(1), width = x.dim(2);
  const int64_t heads = gate.dim(1);
  CHECK(heads % groups == 0 && (gate.shape() == Shape({rows, heads}) ||
                                gate.shape() == Shape({rows, heads, width})))
      << "x " << x.shape() << ", gate " << gate.shape();
  const Tensor in = x.Contiguous(), factors = gate.Contiguous();
  const auto cpu = [&] {
    Tensor out = Tensor::Empty({rows, heads, width});
    const bool each = gate.rank() == 3;
    ctx.pool->For(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * heads; i < end * heads; ++i) {
        const int64_t group = i / heads * groups + i % heads / (heads / groups);
        const float* from = in.data<float>() + group * width;
        const float* factor = factors.data<float>() + i * (each ? width : 1);
        float* to = out.mutable_data<float>() + i * width;
        for (int64_t c = 0; c < width; ++c) {
          to[c] = from[c] * factor[each ? c : 0];
        }
      }
    });
    return out;
  };
  return Run(
      ctx, Door("delta_gate_heads"), x.device(), {x, gate}, cpu,
      [&](const delta_cuda::Kernels& cuda) {
        return cuda.gate_heads(ctx, in, factors);
      },
      [&](const Tensor&) { return delta_internal::GateHeadsVjp(in, factors); });
}

}  // namespace intarsia
