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
#include "intarsia/ops/norm/norm.h"

namespace intarsia {

// What a logit becomes before it is weighed.
enum class RouterScore : uint8_t { kSoftmax, kSigmoid, kSqrtSoftplus };
// What a group of experts counts by: its best, or its two best added.
enum class GroupScore : uint8_t { kMax, kTopTwo };

struct MoeConfig {
  int dim = 0;      // D
  int hidden = 0;   // F, of each expert
  int experts = 0;  // E
  int top_k = 0;    // k
  Activation activation = Activation::kSilu;

  // The router's input: a norm of its own, and a factor.
  NormConfig router_norm = {.kind = NormConfig::Kind::kNone};
  float router_input_scale = 1.0f;
  bool router_bias = false;
  RouterScore score = RouterScore::kSoftmax;  // over all experts
  // A weight [E] is added to the scores for the choice alone.
  bool select_bias = false;
  // Experts are chosen in the best top_groups of `groups` equal groups.
  int groups = 1, top_groups = 1;
  GroupScore group_score = GroupScore::kMax;
  // The weights of a token's experts sum to 1: divided by their sum + eps.
  bool normalize = true;
  float normalize_eps = 0.0f;
  float routed_scale = 1.0f;  // of the weights, at the end
  bool expert_scale = false;  // a weight [E]: a factor of each expert's weight
  // > 0: SparseMixer's weights instead. Each choice takes its part of a softmax
  // over what is left, within a relative distance of 2x this from the best.
  float sparse_mixer = 0.0f;

  NormConfig input_norm = {.kind = NormConfig::Kind::kNone};  // of the experts
  bool gated = true;         // else down · act(up x)
  bool bias = false;         // of gate, up and down, an expert
  float clamp = 0.0f;        // > 0: gate at most this, up within ± this
  float up_offset = 0.0f;    // act(gate) · (up + this)
  int latent = 0;            // > 0: experts work at this width, between two
                             // matrices that they share
  int identity_experts = 0;  // more experts, that return what they get
  bool output_bias = false;

  int shared_hidden = 0;       // > 0: one more expert that sees every token
  bool shared_router = false;  // its factor: a sigmoid of one more logit

  int choices() const { return experts + identity_experts; }
  int expert_dim() const { return latent > 0 ? latent : dim; }
  void Visit(Fields& f);
};

// Where tokens go: entry t·k + r is token t's expert of rank r, best first.
struct MoeRouting {
  std::vector<int32_t> experts;  // [T·k]
  Tensor weights;                // [T, k]
};
// logits: [T, E + identity]; select_bias [E + identity] or null. Of equals the
// lower index wins. Differentiable in the logits (the choice itself is held
// fixed; the bias gets zeros). expert_scale is not in these weights.
MoeRouting RouteTokens(Context& ctx, const MoeConfig& config,
                       const Tensor& logits,
                       const Weight* select_bias = nullptr);

// The rows of a routing, sorted by expert and stable in token order.
struct MoeDispatch {
  std::vector<int32_t> tokens;   // [T·k] row of x
  std::vector<int32_t> places;   // [T·k] entry of the routing
  std::vector<int32_t> offsets;  // [E+1] expert e has rows [offsets[e],
                                 // offsets[e+1]); identities come last
};
MoeDispatch DispatchTokens(const MoeConfig& config, const MoeRouting& routing);

// The experts' matrices in any format: gate (null where not gated) and up
// [E, F, D], down [E, D, F]; biases [E, F], [E, F] and [E, D] or null.
struct Experts {
  const Weight *gate, *up, *down;
  const Weight *gate_bias = nullptr, *up_bias = nullptr, *down_bias = nullptr;
};
// rows [R, D], sorted by expert as `offsets` (one more than experts) says →
// [R, D].
Tensor ComputeExperts(Context& ctx, const MoeConfig& config, const Tensor& rows,
                      std::span<const int32_t> offsets, const Experts& experts);

// y_t = Σ weight · row over the token's experts, in ascending order of expert:
// the same sum in any batch. rows [R, D] are the entries [begin, begin + R) of
// the dispatch; weights [T, k] in the order of the routing.
Tensor CombineExperts(Context& ctx, const Tensor& rows,
                      const MoeDispatch& dispatch, const Tensor& weights,
                      int64_t begin = 0);

class Moe final : public Mixer {
 public:
  // router [E, D], gate, up [E, F, D], down [E, D, F]; with a shared expert
  // shared_gate, shared_up [S, D], shared_down [D, S]; README.md lists the
  // others. A rank may hold any slice of F and S.
  explicit Moe(const MoeConfig& config);

  bool bf16() const override { return true; }
  bool reads_back() const override { return true; }  // the routing
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  MoeRouting Route(Context& ctx, const Tensor& x) const;
  Tensor Routed(Context& ctx, const Tensor& x, const MoeRouting& routing) const;
  Tensor Shared(Context& ctx, const Tensor& x) const;

  MoeConfig config_;
  NormHandle router_norm_, input_norm_;
  WeightHandle router_, router_bias_, select_bias_, expert_scale_;
  WeightHandle gate_, up_, down_, gate_bias_, up_bias_, down_bias_;
  WeightHandle latent_down_, latent_up_, output_bias_;
  WeightHandle shared_gate_, shared_up_, shared_down_, shared_router_;
};

Result<std::unique_ptr<Mixer>> CreateMoe(const Json& config, int dim);
void MoeFields(Fields& f, int dim);
std::vector<MixerExample> MoeExamples();

namespace moe_internal {
// The scores [n] of a token's logits.
void Scores(const MoeConfig& config, const float* logits, int64_t n,
            double* scores);
// SparseMixer: p [n] becomes the softmax for the choice of rank r; what is
// taken or too far from the best is 0.
void SparseMixer(const MoeConfig& config, const float* logits, int64_t n,
                 const int32_t* chosen, int64_t r, double* p);
// Records the vector-Jacobian product of the routing weights (moe_vjp.cc).
void RecordRouting(Context& ctx, const MoeConfig& config, const Tensor& logits,
                   const Weight* select_bias, MoeRouting* routing);
}  // namespace moe_internal

}  // namespace intarsia
