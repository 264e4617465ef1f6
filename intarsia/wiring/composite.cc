#include "intarsia/wiring/composite.h"

#include <algorithm>

#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {

PartPlace AppendPart(const std::string& name, std::vector<WeightSpec> weights,
                     std::vector<StateSpec> states,
                     std::vector<WeightSpec>* all_weights,
                     std::vector<StateSpec>* all_states) {
  const PartPlace place = {.weight = all_weights->size(),
                           .weights = weights.size(),
                           .state = all_states->size(),
                           .states = states.size()};
  for (WeightSpec& spec : weights) {
    spec.name = name + "." + spec.name;
    all_weights->push_back(std::move(spec));
  }
  for (StateSpec& spec : states) {
    spec.name = name + "." + spec.name;
    all_states->push_back(std::move(spec));
  }
  return place;
}

Context PartContext(const Context& ctx, const PartPlace& place,
                    StateView* state) {
  Context part = ctx;
  part.weights = ctx.weights.subspan(place.weight, place.weights);
  if (ctx.state == nullptr) return part;
  // Entries are handles: what is written through them is the pool's.
  const auto first =
      ctx.state->entries.begin() + static_cast<std::ptrdiff_t>(place.state);
  state->entries.assign(first,
                        first + static_cast<std::ptrdiff_t>(place.states));
  part.state = state;
  return part;
}

std::vector<Doubles> PartWeights(const std::vector<Doubles>& weights,
                                 const PartPlace& place) {
  const auto first =
      weights.begin() + static_cast<std::ptrdiff_t>(place.weight);
  return {first, first + static_cast<std::ptrdiff_t>(place.weights)};
}

Tensor ForwardWhole(Context& ctx, const Mixer& mixer, const Tensor& x) {
  Tensor h = mixer.whole() ? x : EnterTensorParallel(ctx, x);
  // A mixer that computes in fp32 alone does so among others in bf16.
  const DType dtype = h.dtype();
  if (!mixer.bf16()) h = Cast(ctx, h, DType::kF32);
  h = Cast(ctx, mixer.Forward(ctx, h), dtype);
  return mixer.whole() ? h : LeaveTensorParallel(ctx, h);
}

Doubles ReferenceOf(const Mixer& mixer, const Batch& batch,
                    const std::vector<Doubles>& weights, const Doubles& x,
                    ReferenceStreams* streams) {
  const auto* reader = dynamic_cast<const StreamMixer*>(&mixer);
  return reader != nullptr ? reader->ReferenceWith(batch, weights, x, streams)
                           : mixer.Reference(batch, weights, x);
}

int64_t RunsOf(const Mixer& mixer) {
  const auto* composite = dynamic_cast<const Composite*>(&mixer);
  return composite != nullptr ? composite->runs() : 1;
}

void AddStateEndsOf(const Mixer& mixer, std::vector<int64_t>* ends) {
  if (const auto* composite = dynamic_cast<const Composite*>(&mixer)) {
    return composite->AddStateEnds(ends);
  }
  const int64_t end = mixer.state_ends();
  if (end > 0 && std::ranges::count(*ends, end) == 0) ends->push_back(end);
}

}  // namespace intarsia
