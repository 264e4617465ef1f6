// RWKV's channel mix: a perceptron of squared ReLUs on a token and the one
// before it. README.md beside this file has the equations and the sources.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

struct RwkvMixConfig {
  int dim = 0;              // D
  int hidden = 0;           // F
  bool receptance = false;  // a gate of the result
  // The mix's weights are of the token itself, not of the one before it.
  bool of_current = false;

  void Visit(Fields& f);
};

class RwkvMix final : public Mixer {
 public:
  // x_k [D], key [F, D], value [D, F]; with a receptance x_r [D], receptance
  // [D, D]. A rank may hold any slice of F.
  explicit RwkvMix(const RwkvMixConfig& config);

  // "x" [D], the last input, per sequence.
  std::vector<StateSpec> state() const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  RwkvMixConfig config_;
  WeightHandle x_k_, x_r_, key_, receptance_, value_;
};

Result<std::unique_ptr<Mixer>> CreateRwkvMix(const Json& config, int dim);
void RwkvMixFields(Fields& f, int dim);
std::vector<MixerExample> RwkvMixExamples();

}  // namespace intarsia
