// Sublayers one after the other, as one mixer: what a block is to a model.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/wiring/sublayer.h"

namespace intarsia {

struct StackConfig {
  std::vector<SublayerConfig> sublayers;  // each as in a model's block

  void Visit(Fields& f) { VisitSublayers(f, &sublayers); }
};

Json ToJson(StackConfig config);

class Stack final : public Composite {
 public:
  static Result<std::unique_ptr<Stack>> Create(
      std::vector<SublayerConfig> sublayers, int dim, const std::string& room);

  // "0.pre_norm", "0.q_proj", ... "1.pre_norm"; states likewise.
  std::vector<WeightSpec> weights() const override { return weights_; }
  std::vector<StateSpec> state() const override { return states_; }
  bool reads_back() const override;
  std::vector<StreamSpec> reads() const override;
  std::vector<StreamSpec> writes() const override;
  int64_t runs() const override;
  void AddStateEnds(std::vector<int64_t>* ends) const override;
  Status Supports(Device device) const override;
  // What the residual, x at first, is after the last sublayer.
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  Doubles ReferenceWith(const Batch& batch, const std::vector<Doubles>& weights,
                        const Doubles& x,
                        ReferenceStreams* streams) const override;

 private:
  Stack() = default;
  std::vector<std::unique_ptr<Sublayer>> sublayers_;
  std::vector<PartPlace> places_;
  std::vector<WeightSpec> weights_;
  std::vector<StateSpec> states_;
};

Result<std::unique_ptr<Mixer>> CreateStack(const Json& config, int dim);
void StackFields(Fields& f, int dim);
std::vector<MixerExample> StackExamples();

}  // namespace intarsia
