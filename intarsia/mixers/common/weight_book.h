// The weights of a mixer, each declared once. A declaration returns a handle,
// by which Forward and Reference reach the values:
//
//   q_ = book_.Matrix("q_proj", {heads * K, D}, Rows(K));
//   q_bias_ = book_.Bias(q_, config.bias);     // of no weight without a bias
//   norm_ = book_.Norm("norm", config.norm, V);
//   ...
//   Tensor q = Linear(ctx, x, q_, q_bias_);    // Forward
//   Doubles q = w.Linear(x, q_, q_bias_);      // Reference, reference_ops.h
//
// The order of the declarations is that of Mixer::weights().
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"
#include "intarsia/ops/matmul/matmul.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {

// A weight of a book, or none.
class WeightHandle {
 public:
  WeightHandle() = default;
  explicit WeightHandle(size_t index) : index_(static_cast<int>(index)) {}

  bool exists() const { return index_ >= 0; }
  // The place in weights(): ctx.weight(q_). A mistake where there is none.
  operator size_t() const {  // NOLINT: implicit on purpose
    CHECK(exists()) << "the configuration has no such weight";
    return static_cast<size_t>(index_);
  }

 private:
  int index_ = -1;
};

// The weights that a norm has.
struct NormHandle {
  NormConfig config;
  WeightHandle scale, bias;
};

// How ranks cut a matrix [N, K]: its rows or its columns, in parts of whole
// units (a head, say).
inline ShardRule Rows(int64_t unit = 1) { return {0, unit}; }
inline ShardRule Columns(int64_t unit = 1) { return {1, unit}; }

class WeightBook {
 public:
  // [..., N, K], in any format.
  WeightHandle Matrix(std::string name, Shape shape, ShardRule shard = {});
  // Any shape, always fp32, without weight decay.
  WeightHandle Vector(std::string name, Shape shape, WeightInit init,
                      ShardRule shard = {});
  // The bias [N] of a weight [N, K], cut as its rows are. "q_proj" has
  // "q_bias", "up" has "up_bias".
  WeightHandle Bias(WeightHandle of, bool wanted = true);
  // Over the last axis of `shape` (NormWeights), or over `dim` channels.
  NormHandle Norm(const std::string& name, const NormConfig& config,
                  const Shape& shape, ShardRule shard = {});
  NormHandle Norm(const std::string& name, const NormConfig& config,
                  int64_t dim) {
    return Norm(name, config, Shape({dim}));
  }

  const std::vector<WeightSpec>& specs() const { return specs_; }
  const Shape& shape(WeightHandle h) const { return specs_.at(h).shape; }

 private:
  WeightHandle Add(WeightSpec spec);

  std::vector<WeightSpec> specs_;
};

inline WeightInit Constant(float value) {
  return {WeightInit::Kind::kConstant, value, 0.0f};
}

// The weight, or null for a handle of none.
inline const Weight* Find(const Context& ctx, WeightHandle h) {
  return h.exists() ? &ctx.weight(h) : nullptr;
}

// As in ops/, of the weights that ctx has.
Tensor Linear(Context& ctx, const Tensor& x, WeightHandle w,
              WeightHandle bias = {});
Tensor ApplyNorm(Context& ctx, const NormHandle& norm, const Tensor& x);

// act(gate) ⊙ norm(y) of every head: y [T, H, V], gate [T, H·V] → [T, H·V].
Tensor NormThenGate(Context& ctx, const NormHandle& norm, Activation activation,
                    const Tensor& y, const Tensor& gate);

// A norm over channels that ranks share out among them.
Tensor ShardedNorm(Context& ctx, const NormHandle& norm, const Tensor& x);

struct LinearHandles {
  WeightHandle w, bias = {};
};
std::vector<Tensor> Linears(Context& ctx, const Tensor& x,
                            std::span<const LinearHandles> layers);
template <size_t N>
std::array<Tensor, N> Linears(Context& ctx, const Tensor& x,
                              const LinearHandles (&layers)[N]) {
  return AsArray<N>(Linears(ctx, x, std::span<const LinearHandles>(layers)));
}

// The last projection of a mixer. Ranks add their partial results, so that only
// the first one may add the bias.
Tensor OutLinear(Context& ctx, const Tensor& x, WeightHandle w,
                 WeightHandle bias = {});

}  // namespace intarsia
