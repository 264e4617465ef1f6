#include <cmath>

#include "intarsia/autograd/tape.h"
#include "intarsia/channel_mixers/moe/moe.h"

namespace intarsia::moe_internal {
namespace {

// The slope of a score that is a function of its own logit alone.
double Slope(const MoeConfig& config, double logit, double score) {
  if (config.score == RouterScore::kSigmoid) return score * (1.0 - score);
  return score == 0.0 ? 0.0 : 1.0 / (1.0 + std::exp(-logit)) / (2.0 * score);
}

// With s the scores, N what they are divided by, c the scale and g the
// gradients of the weights w_r = c s_r / N:
//   d s_r = c (g_r − Σ g s / N) / N, the second part where N is their sum
//   softmax: d logit_e = s_e (d s_e − Σ s ds); else d logit_e = ds_e · slope
void TokenGradient(const MoeConfig& config, const float* logits, int64_t n,
                   const int32_t* chosen, const float* g, float* d) {
  const int64_t k = config.top_k;
  std::vector<double> s(n), ds(n, 0.0);
  if (config.sparse_mixer > 0) {
    for (int64_t r = 0; r < k; ++r) {
      SparseMixer(config, logits, n, chosen, r, s.data());
      const double from = config.routed_scale * g[r] * s[chosen[r]];
      for (int64_t e = 0; e < n; ++e) ds[e] -= from * s[e];
      ds[chosen[r]] += from;
    }
    for (int64_t e = 0; e < n; ++e) d[e] = static_cast<float>(ds[e]);
    return;
  }
  Scores(config, logits, n, s.data());
  double whole = config.normalize ? config.normalize_eps : 1.0, mean = 0.0;
  for (int64_t r = 0; config.normalize && r < k; ++r) {
    whole += s[chosen[r]];
    mean += g[r] * s[chosen[r]];
  }
  double common = 0.0;
  for (int64_t r = 0; r < k; ++r) {
    const int32_t e = chosen[r];
    if (whole == 0.0) continue;
    ds[e] = config.routed_scale * (g[r] - mean / whole) / whole;
    common += ds[e] * s[e];
  }
  const bool softmax = config.score == RouterScore::kSoftmax;
  for (int64_t e = 0; softmax && e < n; ++e) {
    d[e] = static_cast<float>(s[e] * (ds[e] - common));
  }
  for (int64_t r = 0; !softmax && r < k; ++r) {
    const int32_t e = chosen[r];
    d[e] = static_cast<float>(ds[e] * Slope(config, logits[e], s[e]));
  }
}

}  // namespace

void RecordRouting(Context& ctx, const MoeConfig& config, const Tensor& logits,
                   const Weight* select_bias, MoeRouting* routing) {
  const Tensor in = logits.Contiguous().To(Cpu());
  ctx.tape->Record(
      "route", ctx, {logits}, {&routing->weights},
      [in, config, select_bias, tape = ctx.tape, device = logits.device(),
       experts = routing->experts](Context& ctx,
                                   const std::vector<Tensor>& gradients) {
        if (select_bias != nullptr) {
          tape->QueueWeightGradient(*select_bias, ctx,
                                    [select_bias, device](Context& ctx) {
                                      return Tensor::Zeros(select_bias->shape())
                                          .To(device, ctx.stream);
                                    });
        }
        const int64_t tokens = in.dim(0), n = in.dim(1), k = config.top_k;
        Tensor out = Tensor::Zeros(in.shape());
        const Tensor dense = gradients[0].Contiguous().To(Cpu());
        for (int64_t t = 0; t < tokens; ++t) {
          TokenGradient(config, in.data<float>() + t * n, n,
                        experts.data() + t * k, dense.data<float>() + t * k,
                        out.mutable_data<float>() + t * n);
        }
        return std::vector<Tensor>{out.To(device, ctx.stream)};
      });
}

}  // namespace intarsia::moe_internal
