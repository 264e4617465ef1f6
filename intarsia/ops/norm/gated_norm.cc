// A norm beside a gate in one pass over the memory.
#include "intarsia/autograd/fused.h"
#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/activation_cpu.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/norm/norm.h"
#include "intarsia/ops/norm/norm_channels.h"
#include "intarsia/ops/norm/norm_cpu.h"
#include "intarsia/ops/norm/norm_cuda.h"

namespace intarsia {
namespace {

Tensor Composed(Context& ctx, const Tensor& x, const Tensor& gate,
                const Weight* scale, const GatedNormOptions& options) {
  const auto norm = [&](const Tensor& t) {
    const Shape split({t.dim(0), options.groups, t.dim(1) / options.groups});
    const Tensor parts = ReshapeView(ctx, t, split);
    return ReshapeView(
        ctx, RmsNorm(ctx, parts, scale, options.eps, options.unit_offset),
        t.shape());
  };
  if (options.norm_first) {
    return GatedActivation(ctx, options.activation, gate, norm(x));
  }
  return norm(GatedActivation(ctx, options.activation, gate, x));
}

// In one pass over the memory.
Tensor OnCpu(Context& ctx, const Tensor& x, const Tensor& gate,
             const Weight* scale, const GatedNormOptions& options) {
  Tensor y = Tensor::Empty(x.shape());
  float* out = y.mutable_data<float>();
  const RowView rows(x), gates(gate);
  const int64_t dim = x.dim(1), n = dim / options.groups;
  const norm::Channels scales(scale, n, 1.0f,
                              options.unit_offset ? 1.0f : 0.0f);
  ForRange(ctx.pool, rows.rows(), GrainFor(4 * dim),
           [&](int64_t begin, int64_t end) {
             for (int64_t i = begin * options.groups; i < end * options.groups;
                  ++i) {
               const int64_t t = i / options.groups;
               const int64_t at = i % options.groups * n;
               float* to = out + t * dim + at;
               const float* in = rows.row(t) + at;
               if (options.norm_first) {
                 norm::RmsRow(n, in, scales.row(i), options.eps, to);
                 in = to;
               }
               const float* parts[] = {gates.row(t) + at, in};
               elementwise::Gated(options.activation, n, parts, &to);
               if (!options.norm_first) {
                 norm::RmsRow(n, to, scales.row(i), options.eps, to);
               }
             }
           });
  return y;
}

}  // namespace

Tensor GatedRmsNorm(Context& ctx, const Tensor& x, const Tensor& gate,
                    const Weight* scale, const GatedNormOptions& options) {
  CHECK_EQ(x.rank(), 2);
  CHECK(x.shape() == gate.shape()) << x.shape() << " and " << gate.shape();
  CHECK(options.groups > 0 && x.dim(1) % options.groups == 0)
      << x.shape() << " in " << options.groups << " groups";
  const int64_t n = x.dim(1) / options.groups;
  CHECK(scale == nullptr || scale->shape().numel() == x.dim(1) ||
        scale->shape().numel() == n)
      << scale->spec().name << " is " << scale->shape() << " for " << x.shape();
  return Fused(
      ctx, "gated_rms_norm",
      [&] {
        // On a GPU the composition has the tuned kernels.
        return OnDevice(
            x.device(),
            OpDoor<norm_cuda::Kernels>{"gated_rms_norm", "norm",
                                       norm_cuda::kernels},
            [&] { return OnCpu(ctx, x, gate, scale, options); },
            [](const norm_cuda::Kernels&) { return Tensor(); });
      },
      [&] { return Composed(ctx, x, gate, scale, options); });
}

}  // namespace intarsia
