// A mixer whose weights several places of a model use: one set of weights, a
// state for each place, and low-rank additions of each place's own. README.md
// beside this file has the equation.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/wiring/composite.h"
#include "intarsia/wiring/sublayer_config.h"

namespace intarsia {

struct SharedConfig {
  // W x becomes W x + scale · B A x for matrices of the mixer that have the
  // same input, and so one A: Hu et al. 2021, "LoRA".
  struct Lora {
    int rank = 0;
    float scale = 1.0f;
    std::vector<std::string> weights;  // by the mixer's names
    // Not read: of A among the mixer's and its own weights, of each W and B.
    size_t a = 0;
    std::vector<size_t> w = {}, b = {};

    void Visit(Fields& f);
  };
  std::string name;  // of the weights
  PartConfig part;   // the same at every place
  std::vector<Lora> loras;

  void Visit(Fields& f);
};

class Shared final : public Composite {
 public:
  // Fails when a matrix is not there or its input differs from the others'.
  static Result<std::unique_ptr<Shared>> Create(SharedConfig config,
                                                std::unique_ptr<Mixer> mixer);

  // The mixer's (their WeightSpec::shared is "shared.NAME.q_proj"), then for
  // each addition "lora.0.a" [rank, K] and a B by the name of its matrix:
  // "lora.0.q_proj" [N, rank].
  std::vector<WeightSpec> weights() const override { return weights_; }
  std::vector<StateSpec> state() const override { return mixer_->state(); }
  bool reads_back() const override { return mixer_->reads_back(); }
  std::vector<StreamSpec> reads() const override { return mixer_->reads(); }
  std::vector<StreamSpec> writes() const override { return mixer_->writes(); }
  int out_dim() const override { return mixer_->out_dim(); }
  // The additions are cut as the matrices are.
  bool whole() const override { return mixer_->whole(); }
  int64_t runs() const override;
  void AddStateEnds(std::vector<int64_t>* ends) const override;
  Status Supports(Device device) const override;
  Tensor Forward(Context& ctx, const Tensor& x) const override;
  Doubles ReferenceWith(const Batch& batch, const std::vector<Doubles>& weights,
                        const Doubles& x,
                        ReferenceStreams* streams) const override;

 private:
  Shared() = default;
  std::unique_ptr<Mixer> mixer_;
  std::vector<SharedConfig::Lora> loras_;
  std::vector<WeightSpec> weights_;
  PartPlace place_;
};

Result<std::unique_ptr<Mixer>> CreateShared(const Json& config, int dim);
void SharedFields(Fields& f, int dim);
std::vector<MixerExample> SharedExamples();

}  // namespace intarsia
