// Normalisations over the last axis.
#pragma once

#include "intarsia/core/context.h"
#include "intarsia/core/fields.h"
#include "intarsia/formats/weight.h"

namespace intarsia {

struct NormConfig {
  enum class Kind : uint8_t { kNone, kRms, kLayer };
  Kind kind = Kind::kRms;
  float eps = 1e-6f;
  bool affine = true;        // a learned scale (and, for kLayer, a bias)
  bool unit_offset = false;  // the stored scale is (scale − 1): Gemma

  void Visit(Fields& f);
};

// y = x / sqrt(mean(x²) + eps) · scale. x: [..., D] (rows dense, any row
// stride); scale [D], [G·D] where x is [..., G, D] (or [G, D]), or null.
// Differentiable in x and scale.
Tensor RmsNorm(Context& ctx, const Tensor& x, const Weight* scale, float eps,
               bool unit_offset = false);

// y = (x − mean) / sqrt(var + eps) · scale + bias; scale and bias as
// above ([G·D] is a group norm). Differentiable in all three.
Tensor LayerNorm(Context& ctx, const Tensor& x, const Weight* scale,
                 const Weight* bias, float eps);

// The weights a norm over `dim` channels wants, named `name` (and
// `name`_bias), and its application to the ctx.weights that begin at `first`.
std::vector<WeightSpec> NormWeights(const NormConfig& config,
                                    const std::string& name, int64_t dim);
Tensor ApplyNorm(Context& ctx, const NormConfig& config, const Tensor& x,
                 std::span<const Weight* const> weights);

}  // namespace intarsia
