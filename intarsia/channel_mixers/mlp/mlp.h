// Two-layer perceptron: y = W_down act(W_up x + b_up) + b_down. README.md
// beside this file has the sources.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

struct MlpConfig {
  int dim = 0;     // D
  int hidden = 0;  // F
  Activation activation = Activation::kGeluTanh;
  bool xielu = false;  // xielu.h's in place of the activation
  bool bias = true;

  void Visit(Fields& f);
};

class Mlp final : public Mixer {
 public:
  // With bias: up [F, D], up_bias [F], down [D, F], down_bias [D]; without: up,
  // down; with xielu its alpha_p, alpha_n, beta, eps [1] after them. A rank may
  // hold any slice of F.
  explicit Mlp(const MlpConfig& config);

  bool bf16() const override { return !config_.xielu; }
  Status Supports(Device device) const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  MlpConfig config_;
  WeightHandle up_, up_bias_, down_, down_bias_;
  WeightHandle xielu_[4];
};

Result<std::unique_ptr<Mixer>> CreateMlp(const Json& config, int dim);
void MlpFields(Fields& f, int dim);
std::vector<MixerExample> MlpExamples();

}  // namespace intarsia
