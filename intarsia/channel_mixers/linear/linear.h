// y = W x + b: one matrix as a mixer, where a model has one between others.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

struct LinearConfig {
  int dim = 0, out = 0;  // channels in and out
  bool bias = false;

  void Visit(Fields& f);
};

class LinearMixer final : public Mixer {
 public:
  // weight [out, D], and weight_bias [out] if wanted.
  explicit LinearMixer(const LinearConfig& config);

  int out_dim() const override { return config_.out; }
  // Every rank has all of it: its input is whole, and small beside the rest.
  bool whole() const override { return true; }
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  LinearConfig config_;
  WeightHandle weight_, bias_;
};

Result<std::unique_ptr<Mixer>> CreateLinear(const Json& config, int dim);
void LinearFields(Fields& f, int dim);
std::vector<MixerExample> LinearExamples();

}  // namespace intarsia
