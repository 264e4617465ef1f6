#include <cmath>

#include "intarsia/autograd/tape.h"
#include "intarsia/channel_mixers/moe/moe.h"

namespace intarsia::moe_internal {

// With w the weights and g their gradients, s = Σ w g over the chosen:
//   normalised     d logit_e = w_e (g_e − s) for the chosen, else 0
//   softmax of all d logit_e = p_e (g_e − s) for the chosen, −p_e s else
void RecordRouting(Context& ctx, const MoeConfig& config, const Tensor& logits,
                   MoeRouting* routing) {
  const Tensor in = logits.Contiguous();
  ctx.tape->Record(
      "route", ctx, {logits}, {&routing->weights},
      [in, config, experts = routing->experts, weights = routing->weights](
          Context&, const std::vector<Tensor>& gradients) {
        const int64_t tokens = in.dim(0), n = in.dim(1), k = config.top_k;
        Tensor out = Tensor::Zeros(in.shape());
        const Tensor dense = gradients[0].Contiguous();
        for (int64_t t = 0; t < tokens; ++t) {
          const float* x = in.data<float>() + t * n;
          const float* w = weights.data<float>() + t * k;
          const float* g = dense.data<float>() + t * k;
          const int32_t* chosen = experts.data() + t * k;
          float* d = out.mutable_data<float>() + t * n;
          double s = 0;
          for (int64_t r = 0; r < k; ++r) s += double{w[r]} * g[r];
          if (!config.normalize) {
            // p_e = p_best · exp(logit_e − best logit).
            for (int64_t e = 0; e < n; ++e) {
              const double p = w[0] * std::exp(double{x[e]} - x[chosen[0]]);
              d[e] = static_cast<float>(-p * s);
            }
          }
          for (int64_t r = 0; r < k; ++r) {
            d[chosen[r]] = static_cast<float>(w[r] * (g[r] - s));
          }
        }
        return std::vector<Tensor>{out};
      });
}

}  // namespace intarsia::moe_internal
