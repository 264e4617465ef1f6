#include "intarsia/ops/norm/norm.h"

#include <algorithm>

#include "intarsia/autograd/fused.h"
#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/norm/norm_channels.h"
#include "intarsia/ops/norm/norm_cpu.h"
#include "intarsia/ops/norm/norm_cuda.h"

namespace intarsia {
namespace {

void CheckChannels(const Tensor& x, const Weight& w) {
  CHECK(w.defined()) << w.spec().name << " has no values";
  const int64_t n = w.shape().numel(), dim = x.dim(-1);
  const bool grouped = x.rank() >= 3 && n == dim * x.dim(-2);
  CHECK(n == dim || grouped)
      << w.spec().name << " is " << w.shape() << " for x of " << x.shape();
}

using norm_cuda::Kernels;

// [rows, 2]: what the rows were moved and multiplied by, for the tape alone.
norm::Moments* MomentsOf(Tensor& moments) {
  return reinterpret_cast<norm::Moments*>(moments.mutable_data<float>());
}
const norm::Moments* MomentsOf(const Tensor& moments) {
  return reinterpret_cast<const norm::Moments*>(moments.data<float>());
}
static_assert(sizeof(norm::Moments) == 2 * sizeof(float));

Tensor NewMoments(const Context& ctx, const Tensor& x) {
  if (ctx.tape == nullptr) return Tensor();
  const int64_t dim = x.dim(-1);
  return Tensor::Empty({dim == 0 ? 0 : x.numel() / dim, 2}, DType::kF32,
                       x.device());
}

// Of the scale: Σ over rows of g x̂, x̂ = (x − mean) · factor; of the bias:
// Σ g. The channels are those of all groups.
template <bool kBias>
Tensor ChannelGradient(Context& ctx, const Weight& w, const Tensor& x,
                       const Tensor& g, const Tensor& moments) {
  Tensor out = Tensor::Empty(w.shape());
  const RowView rows(x), grads(g);
  const int64_t dim = x.dim(-1), total = w.shape().numel();
  if (total == 0) return out;
  const norm::Moments* of_row = MomentsOf(moments);
  const int64_t groups = total / dim;
  SumColumns(ctx.pool, rows.rows() / groups, total, out.mutable_data<float>(),
             [&](int64_t r, int64_t c0, int64_t c1, double* acc) {
               for (int64_t c = c0; c < c1;) {
                 const int64_t row = r * groups + c / dim, first = c % dim;
                 const int64_t count = std::min(c1 - c, dim - first);
                 const float* xr = rows.row(row) + first;
                 const float* gr = grads.row(row) + first;
                 const norm::Moments m = of_row[row];
                 double* to = acc + (c - c0);
                 for (int64_t i = 0; i < count; ++i) {
                   to[i] += kBias ? double{gr[i]}
                                  : double{gr[i]} *
                                        double{(xr[i] - m.mean) * m.factor};
                 }
                 c += count;
               }
             });
  return out;
}

// row(r) for every row of `rows`.
template <typename Row>
void ForRows(const Context& ctx, const RowView& rows, int64_t cost,
             const Row& row) {
  ForRange(ctx.pool, rows.rows(), GrainFor(cost),
           [&](int64_t begin, int64_t end) {
             for (int64_t r = begin; r < end; ++r) row(r);
           });
}

// What both norms share.
struct NormCall {
  OpDoor<Kernels> door;
  Tensor x;
  const Weight* scale;
  const Weight* bias;
  bool unit_offset;
  bool centred;  // layer norm
};

Tensor InputGradient(Context& ctx, const NormCall& call, const Tensor& g,
                     const Tensor& moments) {
  const Tensor& x = call.x;
  return OnDevice(
      x.device(), call.door,
      [&] {
        Tensor dx = Tensor::Empty(x.shape());
        const RowView rows(x), grads(g);
        const int64_t dim = rows.cols();
        const norm::Channels scales(call.scale, dim, 1.0f,
                                    call.unit_offset ? 1.0f : 0.0f);
        const norm::Moments* of_row = MomentsOf(moments);
        float* out = dx.mutable_data<float>();
        ForRows(ctx, rows, 2 * dim, [&](int64_t r) {
          if (call.centred) {
            norm::LayerRowBackward(dim, rows.row(r), scales.row(r),
                                   grads.row(r), of_row[r], out + r * dim);
          } else {
            norm::RmsRowBackward(dim, rows.row(r), scales.row(r), grads.row(r),
                                 of_row[r].factor, out + r * dim);
          }
        });
        return dx;
      },
      [&](const Kernels& cuda) {
        return cuda.input_gradient(ctx, x.Contiguous(), call.scale,
                                   call.unit_offset, call.centred, g, moments);
      });
}

template <bool kBias>
Tensor WeightGradient(Context& ctx, const NormCall& call, const Weight& w,
                      const Tensor& g, const Tensor& moments) {
  return OnDevice(
      call.x.device(), call.door,
      [&] { return ChannelGradient<kBias>(ctx, w, call.x, g, moments); },
      [&](const Kernels& cuda) {
        return cuda.weight_gradient(ctx, call.x.Contiguous(), w, kBias, g,
                                    moments);
      });
}

auto Vjp(Tape* tape, const NormCall& call, const Tensor& moments) {
  return [tape, call, moments](Context& ctx, const std::vector<Tensor>& g) {
    if (call.scale != nullptr) {
      tape->QueueWeightGradient(
          *call.scale, ctx, [call, moments, g = g[0]](Context& ctx) {
            return WeightGradient<false>(ctx, call, *call.scale, g, moments);
          });
    }
    if (call.bias != nullptr) {
      tape->QueueWeightGradient(
          *call.bias, ctx, [call, moments, g = g[0]](Context& ctx) {
            return WeightGradient<true>(ctx, call, *call.bias, g, moments);
          });
    }
    return std::vector<Tensor>{InputGradient(ctx, call, g[0], moments)};
  };
}

// The frame of both norms: row(n, x, scale, bias, y) on the CPU, which returns
// the row's moments, or cuda(kernels, x, moments).
template <typename Row, typename OnCuda>
Tensor Normalize(Context& ctx, const NormCall& call, const Row& row,
                 const OnCuda& cuda) {
  const Tensor& x = call.x;
  CHECK_GE(x.rank(), 1);
  for (const Weight* w : {call.scale, call.bias}) {
    if (w != nullptr) CheckChannels(x, *w);
  }
  Tensor moments = NewMoments(ctx, x);
  return Run(
      ctx, call.door, x.device(), {x},
      [&] {
        Tensor y = Tensor::Empty(x.shape());
        const RowView rows(x);
        const int64_t dim = rows.cols();
        const norm::Channels scales(call.scale, dim, 1.0f,
                                    call.unit_offset ? 1.0f : 0.0f);
        const norm::Channels shifts(call.bias, dim, 0.0f);
        float* out = y.mutable_data<float>();
        norm::Moments* of_row =
            moments.defined() ? MomentsOf(moments) : nullptr;
        ForRows(ctx, rows, dim, [&](int64_t r) {
          const norm::Moments m = row(dim, rows.row(r), scales.row(r),
                                      shifts.row(r), out + r * dim);
          if (of_row != nullptr) of_row[r] = m;
        });
        return y;
      },
      [&](const Kernels& kernels) {
        return cuda(kernels, x.Contiguous(), &moments);
      },
      Vjp(ctx.tape, call, moments));
}

}  // namespace

Tensor RmsNorm(Context& ctx, const Tensor& x, const Weight* scale, float eps,
               bool unit_offset) {
  return Normalize(
      ctx,
      {.door = {"rms_norm", "norm", norm_cuda::kernels},
       .x = x,
       .scale = scale,
       .bias = nullptr,
       .unit_offset = unit_offset,
       .centred = false},
      [eps](int64_t n, const float* x, const float* scale, const float*,
            float* y) {
        return norm::Moments{0.0f, norm::RmsRow(n, x, scale, eps, y)};
      },
      [&](const Kernels& cuda, const Tensor& x, Tensor* moments) {
        return cuda.rms_norm(ctx, x, scale, eps, unit_offset, moments);
      });
}

Tensor LayerNorm(Context& ctx, const Tensor& x, const Weight* scale,
                 const Weight* bias, float eps) {
  return Normalize(
      ctx,
      {.door = {"layer_norm", "norm", norm_cuda::kernels},
       .x = x,
       .scale = scale,
       .bias = bias,
       .unit_offset = false,
       .centred = true},
      [eps](int64_t n, const float* x, const float* scale, const float* bias,
            float* y) { return norm::LayerRow(n, x, scale, bias, eps, y); },
      [&](const Kernels& cuda, const Tensor& x, Tensor* moments) {
        return cuda.layer_norm(ctx, x, scale, bias, eps, moments);
      });
}

void NormConfig::Visit(Fields& f) {
  static constexpr ChoiceName kKinds[] = {
      {"rms", Kind::kRms}, {"layer", Kind::kLayer}, {"none", Kind::kNone}};
  f.ChoiceOr("type", &kind, kKinds);
  f.NumberOr("eps", &eps);
  f.BoolOr("affine", &affine);
  f.BoolOr("bias", &bias);
  f.BoolOr("unit_offset", &unit_offset);
  f.RequireField(eps >= 0 && eps < 1, "eps", "in [0, 1)");
  f.RequireField(bias || kind == Kind::kLayer, "bias",
                 "true unless the type is \"layer\"");
  f.RequireField(!unit_offset || kind != Kind::kNone, "unit_offset",
                 "false where the type is \"none\"");
}

std::vector<WeightSpec> NormWeights(const NormConfig& config,
                                    const std::string& name, int64_t dim) {
  std::vector<WeightSpec> specs;
  if (config.kind == NormConfig::Kind::kNone || !config.affine) return specs;
  WeightSpec scale;
  scale.name = name;
  scale.shape = Shape({dim});
  scale.role = WeightSpec::Role::kVector;
  scale.init.kind = WeightInit::Kind::kConstant;
  scale.init.a = config.unit_offset ? 0.0f : 1.0f;
  scale.decay = false;
  specs.push_back(scale);
  if (config.kind == NormConfig::Kind::kLayer && config.bias) {
    scale.name = name + "_bias";
    scale.init.a = 0.0f;
    specs.push_back(scale);
  }
  return specs;
}

Tensor ApplyNorm(Context& ctx, const NormConfig& config, const Tensor& x,
                 std::span<const Weight* const> weights) {
  const auto weight = [&](size_t i) -> const Weight* {
    if (!config.affine) return nullptr;
    CHECK_LT(i, weights.size());
    return weights[i];
  };
  switch (config.kind) {
    case NormConfig::Kind::kNone:
      return x;
    case NormConfig::Kind::kRms:
      return RmsNorm(ctx, x, weight(0), config.eps,
                     config.affine && config.unit_offset);
    case NormConfig::Kind::kLayer: {
      const Tensor y = LayerNorm(ctx, x, weight(0),
                                 config.bias ? weight(1) : nullptr, config.eps);
      if (!config.affine || !config.unit_offset) return y;
      // Nemotron's: (1 + s) x̂ + b.
      return Add(ctx, y, LayerNorm(ctx, x, nullptr, nullptr, config.eps));
    }
  }
  return x;
}

Tensor AddAndNorm(Context& ctx, const NormConfig& config, const Tensor& more,
                  Tensor* x, std::span<const Weight* const> weights) {
  using Both = std::vector<Tensor>;  // the sum and its norm
  const Both both = Fused(
      ctx, "add_and_norm",
      [&] {
        if (config.kind != NormConfig::Kind::kRms || !config.affine) {
          return Both();
        }
        return OnDevice(
            x->device(),
            OpDoor<Kernels>{"add_and_norm", "norm", norm_cuda::kernels},
            [] { return Both(); },
            [&](const Kernels& cuda) {
              Tensor sum = *x, normed;
              const bool done =
                  cuda.add_rms_norm(ctx, more, *weights[0], config.eps,
                                    config.unit_offset, &sum, &normed);
              return done ? Both{sum, normed} : Both();
            });
      },
      [&] {
        const Tensor sum = Add(ctx, *x, more);
        return Both{sum, ApplyNorm(ctx, config, sum, weights)};
      });
  *x = both[0];
  return both[1];
}

}  // namespace intarsia
