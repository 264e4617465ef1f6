// Mixture of experts: each token goes through the top k of E gated linear
// units. README.md beside this file has the equation and the sources.
//
// The four steps are functions of their own, so that expert parallelism can put
// an exchange of rows between them: route, dispatch, compute, combine.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

struct MoeConfig {
  int dim = 0;      // D
  int hidden = 0;   // F, of each expert
  int experts = 0;  // E
  int top_k = 0;    // k
  Activation activation = Activation::kSilu;
  // The weights of a token's experts sum to 1: the softmax over the chosen
  // logits. Otherwise they are the chosen entries of the softmax over all.
  bool normalize = true;
  int shared_hidden = 0;  // > 0: one more expert that sees every token

  void Visit(Fields& f);
};

// Where tokens go: entry t·k + r is token t's expert of rank r, best first.
struct MoeRouting {
  std::vector<int32_t> experts;  // [T·k]
  Tensor weights;                // [T, k]
};
// logits: [T, E]. Of equal logits the lower index wins. Differentiable in the
// logits (the choice itself is held fixed).
MoeRouting RouteTokens(Context& ctx, const MoeConfig& config,
                       const Tensor& logits);

// The rows of a routing, sorted by expert and stable in token order.
struct MoeDispatch {
  std::vector<int32_t> tokens;   // [T·k] row of x
  std::vector<int32_t> places;   // [T·k] entry of the routing
  std::vector<int32_t> offsets;  // [E+1] expert e has rows [offsets[e],
                                 // offsets[e+1])
};
MoeDispatch DispatchTokens(const MoeConfig& config, const MoeRouting& routing);

// rows [R, D], sorted by expert as `offsets` (one more than experts) says →
// [R, D]. gate, up [E, F, D] and down [E, D, F] in any format.
Tensor ComputeExperts(Context& ctx, const MoeConfig& config, const Tensor& rows,
                      std::span<const int32_t> offsets, const Weight& gate,
                      const Weight& up, const Weight& down);

// y_t = Σ weight · row over the token's experts, in ascending order of expert:
// the same sum in any batch. rows [T·k, D] in the order of dispatch.
Tensor CombineExperts(Context& ctx, const Tensor& rows,
                      const MoeDispatch& dispatch, const MoeRouting& routing);

class Moe final : public Mixer {
 public:
  // router [E, D], gate, up [E, F, D], down [E, D, F]; with a shared expert
  // shared_gate, shared_up [S, D], shared_down [D, S]. A rank may hold any
  // slice of F and S.
  explicit Moe(const MoeConfig& config);

  bool bf16() const override { return true; }
  bool reads_back() const override { return true; }  // the routing
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  MoeConfig config_;
  WeightHandle router_, gate_, up_, down_;
  WeightHandle shared_gate_, shared_up_, shared_down_;
};

Result<std::unique_ptr<Mixer>> CreateMoe(const Json& config, int dim);
void MoeFields(Fields& f, int dim);
std::vector<MixerExample> MoeExamples();

namespace moe_internal {
// Records the vector-Jacobian product of the routing weights (moe_vjp.cc).
void RecordRouting(Context& ctx, const MoeConfig& config, const Tensor& logits,
                   MoeRouting* routing);
}  // namespace moe_internal

}  // namespace intarsia
