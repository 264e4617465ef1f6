// Mixers of which a router chooses one for each token. README.md beside this
// file has the equation.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/wiring/composite.h"
#include "intarsia/wiring/sublayer_config.h"

namespace intarsia {

struct RoutedConfig {
  std::vector<PartConfig> branches;

  void Visit(Fields& f) { f.List("branches", &branches, {2, 64}); }
};

// p = softmax(router x), c = argmax p, y = p_c · mixer_c(x). A mixer that keeps
// state sees every token of its sequences, so that a later token finds all of
// them; one without computes its own tokens alone.
class Routed final : public Composite {
 public:
  struct Branch {
    std::unique_ptr<Mixer> mixer;
    bool every_token = false;  // it mixes tokens, or keeps state
    PartPlace place;
  };
  Routed(std::vector<Branch> branches, int dim);

  // "router" [branches, D], then those of branch 0: "0.q_proj" ...
  std::vector<WeightSpec> weights() const override { return weights_; }
  std::vector<StateSpec> state() const override { return states_; }
  int64_t runs() const override;
  void AddStateEnds(std::vector<int64_t>* ends) const override;
  Status Supports(Device device) const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  Doubles ReferenceWith(const Batch& batch, const std::vector<Doubles>& weights,
                        const Doubles& x,
                        ReferenceStreams* streams) const override;

 private:
  std::vector<Branch> branches_;
  int dim_;
  std::vector<WeightSpec> weights_;
  std::vector<StateSpec> states_;
};

Result<std::unique_ptr<Mixer>> CreateRouted(const Json& config, int dim);
void RoutedFields(Fields& f, int dim);
std::vector<MixerExample> RoutedExamples();

}  // namespace intarsia
