// Retention: linear attention whose scores fade by a fixed factor per head. Sun
// et al. 2023, "Retentive Network". README.md has equations, forms and traps.
#pragma once

#include <optional>

#include "intarsia/mixers/common/gated_linear.h"
#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/rope/rope.h"

namespace intarsia {

struct RetentionConfig {
  int dim = 0;        // D
  int heads = 0;      // H
  int key_dim = 0;    // K of a head
  int value_dim = 0;  // V of a head
  RopeConfig rope = {};
  NormConfig norm = {};                                // of each head's output
  std::optional<Activation> gate = Activation::kSilu;  // of the output
  float scale = 0.0f;  // of the scores; by default key_dim^-1/2
  int chunk = 64;

  void Visit(Fields& f);
};

// log γ_h = log(1 − 2^(−5−h)) of heads [first, first + heads), fp32 [heads].
Tensor RetentionLogDecay(int first, int heads);

class Retention final : public Mixer {
 public:
  // q_proj, k_proj [H·K, D], v_proj [H·V, D], g_proj [H·V, D] with a gate,
  // those of the norm over V, o_proj [D, H·V].
  explicit Retention(const RetentionConfig& config);

  // "S": [H, K, V], per sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  Doubles Reference(const Batch& batch, const std::vector<Doubles>& weights,
                    const Doubles& x) const override;

 private:
  RetentionConfig config_;
  WeightHandle q_, k_, v_, gate_, out_;
  NormHandle norm_;
};

Result<std::unique_ptr<Mixer>> CreateRetention(const Json& config, int dim);
void RetentionFields(Fields& f, int dim);
std::vector<MixerExample> RetentionExamples();

}  // namespace intarsia
