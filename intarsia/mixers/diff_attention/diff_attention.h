// Differential attention: the difference of two softmaxes. Ye et al. 2024,
// "Differential Transformer", as DiffLlama has it. README.md beside this file
// has the equation.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/rope/rope.h"

namespace intarsia {

struct DiffAttentionConfig {
  int dim = 0;                                // D
  int heads = 0, kv_heads = 0, head_dim = 0;  // H, G, both even; K
  bool bias = false;                          // of all four projections
  RopeConfig rope = {.enabled = false};
  double lambda_init = 0.8;
  float eps = 1e-5f;  // of the norm of each pair's output

  void Visit(Fields& f);
};

class DiffAttention final : public Mixer {
 public:
  // q_proj [H·K, D], k_proj, v_proj [G·K, D], o_proj [D, H·K], with bias
  // q_bias, k_bias, v_bias, o_bias; lambda_q1, lambda_k1, lambda_q2, lambda_k2
  // [K].
  explicit DiffAttention(const DiffAttentionConfig& config);

  // "k1", "k2": rotated keys of the first and the second half of the heads,
  // [G/2, K] a token; "v": values of pairs of heads, [G/2, 2K].
  std::vector<StateSpec> state() const override;
  // The halves of the heads that belong together lie apart: every rank has all.
  bool whole() const override { return true; }
  Status Supports(Device device) const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  DiffAttentionConfig config_;
  WeightHandle q_, k_, v_, o_, q_bias_, k_bias_, v_bias_, o_bias_;
  WeightHandle lambda_[4];  // q1, k1, q2, k2
};

Result<std::unique_ptr<Mixer>> CreateDiffAttention(const Json& config, int dim);
void DiffAttentionFields(Fields& f, int dim);
std::vector<MixerExample> DiffAttentionExamples();

}  // namespace intarsia
