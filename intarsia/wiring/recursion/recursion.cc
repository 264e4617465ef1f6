#include "intarsia/wiring/recursion/recursion.h"

#include <algorithm>

namespace intarsia {

Recursion::Recursion(std::unique_ptr<Stack> stack, int times)
    : stack_(std::move(stack)) {
  std::vector<WeightSpec> weights;
  for (int pass = 0; pass < times; ++pass) {
    PartPlace place = AppendPart("pass" + std::to_string(pass), {},
                                 stack_->state(), &weights, &states_);
    place.weights = stack_->weights().size();
    passes_.push_back(place);
  }
}

int64_t Recursion::runs() const {
  return stack_->runs() * static_cast<int64_t>(passes_.size());
}

void Recursion::AddStateEnds(std::vector<int64_t>* ends) const {
  stack_->AddStateEnds(ends);
}

Status Recursion::Supports(Device device) const {
  return stack_->Supports(device);
}

Tensor Recursion::Forward(Context& ctx, const Tensor& x) const {
  Tensor y = x;
  for (const PartPlace& pass : passes_) {
    StateView state;
    Context part = PartContext(ctx, pass, &state);
    y = stack_->Forward(part, y);
  }
  return y;
}

Doubles Recursion::ReferenceWith(const Batch& batch,
                                 const std::vector<Doubles>& weights,
                                 const Doubles& x,
                                 ReferenceStreams* streams) const {
  Doubles y = x;
  for (size_t pass = 0; pass < passes_.size(); ++pass) {
    y = stack_->ReferenceWith(batch, weights, y, streams);
  }
  return y;
}

void RecursionConfig::Visit(Fields& f) {
  f.Int("times", &times, {1, 256});
  VisitSublayers(f, &sublayers);
}

Result<std::unique_ptr<Mixer>> CreateRecursion(const Json& json, int dim) {
  ASSIGN_OR_RETURN(RecursionConfig config,
                   ParseFields<RecursionConfig>(json, "recursion"));
  ASSIGN_OR_RETURN(
      std::unique_ptr<Stack> stack,
      Stack::Create(std::move(config.sublayers), dim, "recursion"));
  // Nested recursions multiply: a small file must not ask for much state.
  constexpr size_t kMaxStates = 1 << 14;
  const size_t parts =
      std::max(stack->state().size(), static_cast<size_t>(stack->runs()));
  if (parts * config.times > kMaxStates) {
    return InvalidArgument("[recursion] \"times\" asks for more than " +
                           std::to_string(kMaxStates) + " states or runs");
  }
  return std::unique_ptr<Mixer>(new Recursion(std::move(stack), config.times));
}

void RecursionFields(Fields& f, int dim) {
  VisitFresh<RecursionConfig>(f, dim);
}

std::vector<MixerExample> RecursionExamples() {
  return {
      {.name = "three_passes",
       .config = R"({"times": 3, "sublayers": [
         {"mixer": "attention", "residual_scale": 0.5,
          "config": {"heads": 2, "head_dim": 8, "rope": {"theta": 10000}}},
         {"mixer": "mamba2", "residual_scale": 0.5,
          "config": {"heads": 2, "head_dim": 8, "state_dim": 6}},
         {"mixer": "glu", "config": {"hidden": 10}}]})",
       .dim = 12,
       .tolerance = 4e-5},
  };
}

}  // namespace intarsia
