// A factor a channel: y = w ⊙ x. README.md beside this file says who has it.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

struct DiagonalConfig {
  int dim = 0;  // D

  void Visit(Fields&) {}
};

class Diagonal final : public Mixer {
 public:
  explicit Diagonal(const DiagonalConfig& config);  // weight [D]

  bool whole() const override { return true; }
  Status Supports(Device device) const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  std::vector<double> Reference(const Batch& batch,
                                const std::vector<std::vector<double>>& weights,
                                const std::vector<double>& x) const override;

 private:
  WeightHandle weight_;
};

Result<std::unique_ptr<Mixer>> CreateDiagonal(const Json& config, int dim);
void DiagonalFields(Fields& f, int dim);
std::vector<MixerExample> DiagonalExamples();

}  // namespace intarsia
