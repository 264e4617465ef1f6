// Normalisations over the last axis.
#pragma once

#include "intarsia/core/context.h"
#include "intarsia/core/fields.h"
#include "intarsia/formats/weight.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

struct NormConfig {
  enum class Kind : uint8_t { kNone, kRms, kLayer };
  Kind kind = Kind::kRms;
  float eps = 1e-6f;
  bool affine = true;        // a learned scale (and, for kLayer, a bias)
  bool bias = true;          // kLayer: that bias
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

// A norm beside a gate, as Mamba-2, RetNet and gated delta networks end:
// rms_norm(act(gate) ⊙ x) or, with norm_first, act(gate) ⊙ rms_norm(x). x and
// gate: [T, D], rows dense; scale [D] or, the same for all groups, [D /
// groups], or null. Differentiable in x, gate and scale.
struct GatedNormOptions {
  Activation activation = Activation::kSilu;  // of the gate
  float eps = 1e-5f;
  bool unit_offset = false;  // as RmsNorm's
  int64_t groups = 1;        // parts of a row that are normalised apart
  bool norm_first = false;
};
Tensor GatedRmsNorm(Context& ctx, const Tensor& x, const Tensor& gate,
                    const Weight* scale, const GatedNormOptions& options);

// The weights a norm over `dim` channels wants, named `name` (and
// `name`_bias), and its application to the ctx.weights that begin at `first`.
std::vector<WeightSpec> NormWeights(const NormConfig& config,
                                    const std::string& name, int64_t dim);
Tensor ApplyNorm(Context& ctx, const NormConfig& config, const Tensor& x,
                 std::span<const Weight* const> weights);

// *x becomes x + more; returns its norm: on a GPU in one pass over memory where
// a kernel takes it.
Tensor AddAndNorm(Context& ctx, const NormConfig& config, const Tensor& more,
                  Tensor* x, std::span<const Weight* const> weights);

}  // namespace intarsia
