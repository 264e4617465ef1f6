// Mixers side by side on one input. README.md beside this file has the
// equation.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/wiring/composite.h"
#include "intarsia/wiring/sublayer_config.h"

namespace intarsia {

struct ParallelConfig {
  struct Branch {
    PartConfig part;
    float input_scale = 1.0f, output_scale = 1.0f;
    NormConfig norm = {.kind = NormConfig::Kind::kNone};

    void Visit(Fields& f);
  };
  std::vector<Branch> branches;
  bool mean = false;  // instead of the sum

  void Visit(Fields& f);
};

// y = c Σ_i output_scale_i · norm_i(mixer_i(input_scale_i · x)), c is 1, or
// 1 / branches for the mean.
class Parallel final : public Composite {
 public:
  struct Branch {
    ParallelConfig::Branch config;
    std::unique_ptr<Mixer> mixer = nullptr;
    PartPlace place = {}, norm_place = {};
  };
  Parallel(std::vector<Branch> branches, bool mean, int dim);

  // Of branch 0: "0.q_proj", ..., "0.branch_norm"; states likewise.
  std::vector<WeightSpec> weights() const override { return weights_; }
  std::vector<StateSpec> state() const override { return states_; }
  bool reads_back() const override;
  std::vector<StreamSpec> reads() const override;
  std::vector<StreamSpec> writes() const override;
  int out_dim() const override { return dim_; }
  int64_t runs() const override;
  void AddStateEnds(std::vector<int64_t>* ends) const override;
  Status Supports(Device device) const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  Doubles ReferenceWith(const Batch& batch, const std::vector<Doubles>& weights,
                        const Doubles& x,
                        ReferenceStreams* streams) const override;

 private:
  std::vector<Branch> branches_;
  bool mean_;
  int dim_;
  std::vector<WeightSpec> weights_;
  std::vector<StateSpec> states_;
};

Result<std::unique_ptr<Mixer>> CreateParallel(const Json& config, int dim);
void ParallelFields(Fields& f, int dim);
std::vector<MixerExample> ParallelExamples();

}  // namespace intarsia
