#include "intarsia/mixers/common/weight_book.h"

#include <utility>

#include "intarsia/distributed/tensor_parallel.h"

namespace intarsia {

WeightHandle WeightBook::Add(WeightSpec spec) {
  specs_.push_back(std::move(spec));
  return WeightHandle(specs_.size() - 1);
}

WeightHandle WeightBook::Matrix(std::string name, Shape shape,
                                ShardRule shard) {
  return Add(
      {.name = std::move(name), .shape = shape, .shard = shard, .init = {}});
}

WeightHandle WeightBook::Vector(std::string name, Shape shape, WeightInit init,
                                ShardRule shard) {
  return Add({.name = std::move(name),
              .shape = shape,
              .role = WeightSpec::Role::kVector,
              .shard = shard,
              .init = init,
              .decay = false});
}

WeightHandle WeightBook::Bias(WeightHandle of, bool wanted) {
  if (!wanted) return {};
  const WeightSpec& matrix = specs_.at(of);
  std::string name = matrix.name;
  if (name.ends_with("_proj")) name.resize(name.size() - 5);
  return Vector(name + "_bias", {matrix.shape[0]}, Constant(0),
                matrix.shard.axis == 0 ? matrix.shard : ShardRule());
}

NormHandle WeightBook::Norm(const std::string& name, const NormConfig& config,
                            const Shape& shape, ShardRule shard) {
  NormHandle norm = {.config = config, .scale = {}, .bias = {}};
  WeightHandle* const handles[] = {&norm.scale, &norm.bias};
  std::vector<WeightSpec> specs =
      NormWeights(config, name, shape[shape.rank() - 1]);
  for (size_t i = 0; i < specs.size(); ++i) {
    specs[i].shape = shape;
    specs[i].shard = shard;
    *handles[i] = Add(std::move(specs[i]));
  }
  return norm;
}

Tensor Linear(Context& ctx, const Tensor& x, WeightHandle w,
              WeightHandle bias) {
  return Linear(ctx, x, ctx.weight(w), Find(ctx, bias));
}

Tensor ShardedNorm(Context& ctx, const NormHandle& norm, const Tensor& x) {
  if (norm.config.kind == NormConfig::Kind::kNone) return x;
  if (TensorParallelSize(ctx) == 1) return ApplyNorm(ctx, norm, x);
  CHECK(norm.config.kind == NormConfig::Kind::kRms && norm.scale.exists() &&
        !norm.config.unit_offset)
      << "ranks share no such norm";
  return ShardedRmsNorm(ctx, x, ctx.weight(norm.scale), norm.config.eps);
}

std::vector<Tensor> Linears(Context& ctx, const Tensor& x,
                            std::span<const LinearHandles> layers) {
  std::vector<LinearWeights> weights;
  for (const LinearHandles& layer : layers) {
    weights.push_back({&ctx.weight(layer.w), Find(ctx, layer.bias)});
  }
  return Linears(ctx, x, weights);
}

Tensor ApplyNorm(Context& ctx, const NormHandle& norm, const Tensor& x) {
  const Weight* const weights[] = {Find(ctx, norm.scale), Find(ctx, norm.bias)};
  return ApplyNorm(ctx, norm.config, x, weights);
}

Tensor NormThenGate(Context& ctx, const NormHandle& norm, Activation activation,
                    const Tensor& y, const Tensor& gate) {
  if (norm.config.kind != NormConfig::Kind::kRms) {
    return GatedActivation(
        ctx, activation, gate,
        ReshapeView(ctx, ApplyNorm(ctx, norm, y), gate.shape()));
  }
  return GatedRmsNorm(ctx, ReshapeView(ctx, y, gate.shape()), gate,
                      Find(ctx, norm.scale),
                      {.activation = activation,
                       .eps = norm.config.eps,
                       .unit_offset = norm.config.unit_offset,
                       .groups = y.dim(1),
                       .norm_first = true});
}

Tensor OutLinear(Context& ctx, const Tensor& x, WeightHandle w,
                 WeightHandle bias) {
  return Linear(ctx, x, w,
                TensorParallelRank(ctx) == 0 ? bias : WeightHandle());
}

}  // namespace intarsia
