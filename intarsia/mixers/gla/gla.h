// Gated linear attention: linear attention whose state fades by channel, as
// each token chooses. Yang et al. 2024. README.md beside this file has the
// equations and the traps.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "intarsia/mixers/common/delta_rule.h"
#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {

struct GlaConfig {
  int dim = 0;            // D
  int heads = 0;          // H
  int key_dim = 0;        // K of a head
  int value_dim = 0;      // V of a head
  int decay_rank = 16;    // of the projection of decays
  float normalizer = 16;  // what their logarithms are divided by
  NormConfig norm = {};   // of each head's output
  std::optional<Activation> gate =
      Activation::kSilu;  // none: the output is not gated
  int chunk = 64;

  void Visit(Fields& f);
};

class Gla final : public Mixer {
 public:
  // q_proj, k_proj [H·K, D], v_proj [H·V, D], decay_a [R, D], decay_b [H·K, R],
  // decay_b_bias [H·K], gate_proj [H·V, D] with a gate, those of the norm over
  // V, o_proj [D, H·V].
  explicit Gla(const GlaConfig& config);

  // "S": [H, K, V], per sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  GlaConfig config_;
  WeightHandle q_, k_, v_, decay_a_, decay_b_, decay_bias_, gate_, out_;
  NormHandle norm_;
};

Result<std::unique_ptr<Mixer>> CreateGla(const Json& config, int dim);
void GlaFields(Fields& f, int dim);
std::vector<MixerExample> GlaExamples();

}  // namespace intarsia
