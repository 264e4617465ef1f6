// Sublayers run several times over their own result, with one set of weights
// and a state for each pass. README.md beside this file has the sources.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/wiring/stack/stack.h"

namespace intarsia {

struct RecursionConfig {
  int times = 0;
  std::vector<SublayerConfig> sublayers;  // each as in a model's block

  void Visit(Fields& f);
};

class Recursion final : public Composite {
 public:
  Recursion(std::unique_ptr<Stack> stack, int times);

  std::vector<WeightSpec> weights() const override { return stack_->weights(); }
  // "pass0.0.k", ..., "pass1.0.k": weights have one place, states `times`.
  std::vector<StateSpec> state() const override { return states_; }
  bool reads_back() const override { return stack_->reads_back(); }
  std::vector<StreamSpec> reads() const override { return stack_->reads(); }
  std::vector<StreamSpec> writes() const override { return stack_->writes(); }
  int64_t runs() const override;
  void AddStateEnds(std::vector<int64_t>* ends) const override;
  Status Supports(Device device) const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  Doubles ReferenceWith(const Batch& batch, const std::vector<Doubles>& weights,
                        const Doubles& x,
                        ReferenceStreams* streams) const override;

 private:
  std::unique_ptr<Stack> stack_;
  std::vector<PartPlace> passes_;
  std::vector<StateSpec> states_;
};

Result<std::unique_ptr<Mixer>> CreateRecursion(const Json& config, int dim);
void RecursionFields(Fields& f, int dim);
std::vector<MixerExample> RecursionExamples();

}  // namespace intarsia
