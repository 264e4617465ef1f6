// What mixers that are made of other mixers share: weights and state of the
// parts, one after the other, and references that pass named values on.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/mixers/stream_mixer.h"

namespace intarsia {

class Composite : public StreamMixer {
 public:
  // It does the sums over the ranks of tensor parallelism itself.
  bool whole() const override { return true; }

  // The lengths at which the state of some part ends.
  virtual void AddStateEnds(std::vector<int64_t>* ends) const = 0;
  // Mixers that one Forward runs, each as often as it is run.
  virtual int64_t runs() const = 0;
};

// Where the weights and states of a part stand among those of the whole.
struct PartPlace {
  size_t weight = 0, weights = 0;
  size_t state = 0, states = 0;
};

// Appends the specs of a part under "name." and says where they are.
PartPlace AppendPart(const std::string& name, std::vector<WeightSpec> weights,
                     std::vector<StateSpec> states,
                     std::vector<WeightSpec>* all_weights,
                     std::vector<StateSpec>* all_states);

// The context of a part of the mixer whose context is `ctx`. It points into
// `state`, which must stay.
Context PartContext(const Context& ctx, const PartPlace& place,
                    StateView* state);
std::vector<Doubles> PartWeights(const std::vector<Doubles>& weights,
                                 const PartPlace& place);

// Forward with the sums over ranks, whether or not the mixer does them.
Tensor ForwardWhole(Context& ctx, const Mixer& mixer, const Tensor& x);
Doubles ReferenceOf(const Mixer& mixer, const Batch& batch,
                    const std::vector<Doubles>& weights, const Doubles& x,
                    ReferenceStreams* streams);
int64_t RunsOf(const Mixer& mixer);  // 1, or a composite's
void AddStateEndsOf(const Mixer& mixer, std::vector<int64_t>* ends);

}  // namespace intarsia
