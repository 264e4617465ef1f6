#include "intarsia/ops/norm/norm.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/autograd/tape.h"
#include "intarsia/core/json_reader.h"
#include "intarsia/cuda/kernels.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/norm/norm_cpu.h"
#include "intarsia/ops/norm/norm_cuda.h"

namespace intarsia {
namespace {

// A constant of every channel: row r uses entry r mod groups of [groups, D].
// The stored values plus `offset`, or `absent` where there are none.
class Channels {
 public:
  Channels(const Weight* weight, int64_t dim, float absent, float offset = 0)
      : dim_(dim) {
    if (weight == nullptr) {
      own_.assign(dim, absent);
    } else {
      groups_ = dim == 0 ? 1 : weight->shape().numel() / dim;
      data_ = weight->f32();
      if (offset != 0) {
        own_.assign(data_, data_ + groups_ * dim);
        for (float& s : own_) s += offset;
      }
    }
    if (!own_.empty()) data_ = own_.data();
  }
  Channels(const Channels&) = delete;

  const float* row(int64_t r) const { return data_ + (r % groups_) * dim_; }

 private:
  int64_t dim_, groups_ = 1;
  const float* data_ = nullptr;
  std::vector<float> own_;
};

void CheckChannels(const Tensor& x, const Weight& w) {
  CHECK(w.defined()) << w.spec().name << " has no values";
  const int64_t n = w.shape().numel(), dim = x.dim(-1);
  const bool grouped = x.rank() >= 3 && n == dim * x.dim(-2);
  CHECK(n == dim || grouped)
      << w.spec().name << " is " << w.shape() << " for x of " << x.shape();
}

// Of the scale: Σ over rows of g x̂, x̂ = (x − mean) · factor; of the bias:
// Σ g. The channels are those of all groups.
template <bool kBias>
Tensor ChannelGradient(Context& ctx, const Weight& w, const Tensor& x,
                       const Tensor& g,
                       const std::vector<norm::Moments>& moments) {
  Tensor out = Tensor::Empty(w.shape());
  const RowView rows(x), grads(g);
  const int64_t dim = x.dim(-1), total = w.shape().numel();
  if (total == 0) return out;
  const int64_t groups = total / dim;
  SumColumns(ctx.pool, rows.rows() / groups, total, out.mutable_data<float>(),
             [&](int64_t r, int64_t c0, int64_t c1, double* acc) {
               for (int64_t c = c0; c < c1;) {
                 const int64_t row = r * groups + c / dim, first = c % dim;
                 const int64_t count = std::min(c1 - c, dim - first);
                 const float* xr = rows.row(row) + first;
                 const float* gr = grads.row(row) + first;
                 const norm::Moments m = moments[row];
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

}  // namespace

Tensor RmsNorm(Context& ctx, const Tensor& x, const Weight* scale, float eps,
               bool unit_offset) {
  CHECK_GE(x.rank(), 1);
  if (scale != nullptr) CheckChannels(x, *scale);
  if (x.device().is_cuda()) {
    return RequireKernels(norm_cuda::kernels, "norm")
        .rms_norm(ctx, x.Contiguous(), scale, eps, unit_offset);
  }
  Tensor y = Tensor::Empty(x.shape());
  const RowView rows(x);
  const int64_t dim = rows.cols();
  // Only the tape needs what the rows were divided by.
  std::vector<norm::Moments> moments(ctx.tape != nullptr ? rows.rows() : 0);
  {
    const Channels scales(scale, dim, 1.0f, unit_offset ? 1.0f : 0.0f);
    float* out = y.mutable_data<float>();
    ForRange(ctx.pool, rows.rows(), GrainFor(dim),
             [&](int64_t begin, int64_t end) {
               for (int64_t r = begin; r < end; ++r) {
                 const float factor = norm::RmsRow(
                     dim, rows.row(r), scales.row(r), eps, out + r * dim);
                 if (!moments.empty()) moments[r] = {0.0f, factor};
               }
             });
  }

  if (ctx.tape != nullptr) {
    Tape* tape = ctx.tape;
    tape->Record(
        "rms_norm", ctx, {x}, {&y},
        [tape, x, scale, unit_offset, moments = std::move(moments)](
            Context& ctx, const std::vector<Tensor>& g) {
          if (scale != nullptr) {
            tape->QueueWeightGradient(
                *scale, ctx, [scale, x, g = g[0], moments](Context& ctx) {
                  return ChannelGradient<false>(ctx, *scale, x, g, moments);
                });
          }
          Tensor dx = Tensor::Empty(x.shape());
          const RowView rows(x), grads(g[0]);
          const int64_t dim = rows.cols();
          const Channels scales(scale, dim, 1.0f, unit_offset ? 1.0f : 0.0f);
          float* out = dx.mutable_data<float>();
          ForRange(ctx.pool, rows.rows(), GrainFor(2 * dim),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t r = begin; r < end; ++r) {
                       norm::RmsRowBackward(dim, rows.row(r), scales.row(r),
                                            grads.row(r), moments[r].factor,
                                            out + r * dim);
                     }
                   });
          return std::vector<Tensor>{dx};
        });
  }
  return y;
}

Tensor LayerNorm(Context& ctx, const Tensor& x, const Weight* scale,
                 const Weight* bias, float eps) {
  CHECK_GE(x.rank(), 1);
  const int64_t dim = x.dim(-1);
  for (const Weight* w : {scale, bias}) {
    if (w != nullptr) CheckChannels(x, *w);
  }
  if (x.device().is_cuda()) {
    return RequireKernels(norm_cuda::kernels, "norm")
        .layer_norm(ctx, x.Contiguous(), scale, bias, eps);
  }
  Tensor y = Tensor::Empty(x.shape());
  const RowView rows(x);
  std::vector<norm::Moments> moments(ctx.tape != nullptr ? rows.rows() : 0);
  {
    const Channels scales(scale, dim, 1.0f);
    const Channels shifts(bias, dim, 0.0f);
    float* out = y.mutable_data<float>();
    ForRange(ctx.pool, rows.rows(), GrainFor(dim),
             [&](int64_t begin, int64_t end) {
               for (int64_t r = begin; r < end; ++r) {
                 const norm::Moments m =
                     norm::LayerRow(dim, rows.row(r), scales.row(r),
                                    shifts.row(r), eps, out + r * dim);
                 if (!moments.empty()) moments[r] = m;
               }
             });
  }

  if (ctx.tape != nullptr) {
    Tape* tape = ctx.tape;
    tape->Record(
        "layer_norm", ctx, {x}, {&y},
        [tape, x, scale, bias, moments = std::move(moments)](
            Context& ctx, const std::vector<Tensor>& g) {
          if (scale != nullptr) {
            tape->QueueWeightGradient(
                *scale, ctx, [scale, x, g = g[0], moments](Context& ctx) {
                  return ChannelGradient<false>(ctx, *scale, x, g, moments);
                });
          }
          if (bias != nullptr) {
            tape->QueueWeightGradient(
                *bias, ctx, [bias, x, g = g[0], moments](Context& ctx) {
                  return ChannelGradient<true>(ctx, *bias, x, g, moments);
                });
          }
          Tensor dx = Tensor::Empty(x.shape());
          const RowView rows(x), grads(g[0]);
          const int64_t dim = rows.cols();
          const Channels scales(scale, dim, 1.0f);
          float* out = dx.mutable_data<float>();
          ForRange(ctx.pool, rows.rows(), GrainFor(2 * dim),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t r = begin; r < end; ++r) {
                       norm::LayerRowBackward(dim, rows.row(r), scales.row(r),
                                              grads.row(r), moments[r],
                                              out + r * dim);
                     }
                   });
          return std::vector<Tensor>{dx};
        });
  }
  return y;
}

Result<NormConfig> ParseNorm(const nlohmann::json& json,
                             const std::string& room) {
  NormConfig config;
  JsonReader reader(json, room, {.path = "norm"});
  const std::string type = reader.StringOr("type", "rms");
  config.eps = static_cast<float>(reader.NumberOr("eps", config.eps));
  config.affine = reader.BoolOr("affine", config.affine);
  config.unit_offset = reader.BoolOr("unit_offset", config.unit_offset);
  reader.RequireField(type == "rms" || type == "layer" || type == "none",
                      "type", "\"rms\", \"layer\" or \"none\"");
  reader.RequireField(config.eps >= 0 && config.eps < 1, "eps", "in [0, 1)");
  config.kind = type == "rms"     ? NormConfig::Kind::kRms
                : type == "layer" ? NormConfig::Kind::kLayer
                                  : NormConfig::Kind::kNone;
  reader.RequireField(
      !config.unit_offset || config.kind == NormConfig::Kind::kRms,
      "unit_offset", "false unless the type is \"rms\"");
  RETURN_IF_ERROR(reader.Finish());
  return config;
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
  if (config.kind == NormConfig::Kind::kLayer) {
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
    case NormConfig::Kind::kLayer:
      return LayerNorm(ctx, x, weight(0), weight(1), config.eps);
  }
  return x;
}

}  // namespace intarsia
