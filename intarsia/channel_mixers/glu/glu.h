// Gated linear unit: y = W_down (act(W_gate x) ⊙ W_up x). README.md beside this
// file has the sources.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

struct GluConfig {
  int dim = 0;     // D
  int hidden = 0;  // F
  Activation activation = Activation::kSilu;
  bool bias = false;             // on all three projections
  float gate_multiplier = 1.0f;  // of the gate, before its activation
  NormConfig norm = {.kind = NormConfig::Kind::kNone};  // before W_down

  void Visit(Fields& f);
};

class Glu final : public Mixer {
 public:
  // gate [F, D], up [F, D], down [D, F]; with bias: gate_bias, up_bias [F],
  // down_bias [D] after them; with a norm its weights. A rank may hold any
  // slice of F.
  explicit Glu(const GluConfig& config);

  bool bf16() const override { return true; }
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  GluConfig config_;
  WeightHandle gate_, up_, down_, gate_bias_, up_bias_, down_bias_;
  NormHandle norm_;
};

Result<std::unique_ptr<Mixer>> CreateGlu(const Json& config, int dim);
void GluFields(Fields& f, int dim);
std::vector<MixerExample> GluExamples();

}  // namespace intarsia
