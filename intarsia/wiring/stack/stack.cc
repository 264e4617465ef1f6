#include "intarsia/wiring/stack/stack.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace intarsia {

Result<std::unique_ptr<Stack>> Stack::Create(
    std::vector<SublayerConfig> sublayers, int dim, const std::string& room) {
  std::unique_ptr<Stack> stack(new Stack());
  std::map<std::string, Shape> known;  // named values that a sublayer wrote
  for (SublayerConfig& config : sublayers) {
    const std::string name = std::to_string(stack->sublayers_.size());
    ASSIGN_OR_RETURN(
        std::unique_ptr<Sublayer> sublayer,
        Sublayer::Create(std::move(config), dim, room, "sublayer " + name));
    stack->places_.push_back(AppendPart(name, sublayer->weights(),
                                        sublayer->state(), &stack->weights_,
                                        &stack->states_));
    // What stands before the stack is the model's to check.
    for (const auto& values : {sublayer->reads(), sublayer->writes()}) {
      for (const StreamSpec& spec : values) {
        const auto found = known.find(spec.name);
        if (found != known.end() && !(found->second == spec.shape)) {
          return InvalidArgument("[" + room + "] sublayer " + name +
                                 " takes the named value \"" + spec.name +
                                 "\" as " + spec.shape.ToString() +
                                 ", which is " + found->second.ToString());
        }
      }
    }
    for (const StreamSpec& spec : sublayer->writes()) {
      known.emplace(spec.name, spec.shape);
    }
    stack->sublayers_.push_back(std::move(sublayer));
  }
  return stack;
}

bool Stack::reads_back() const {
  return std::ranges::any_of(sublayers_, [](const auto& sublayer) {
    return sublayer->mixer().reads_back();
  });
}

std::vector<StreamSpec> Stack::reads() const {
  std::vector<StreamSpec> reads, known;
  for (const auto& sublayer : sublayers_) {
    for (StreamSpec& spec : sublayer->reads()) {
      if (std::ranges::count(known, spec.name, &StreamSpec::name) == 0) {
        reads.push_back(std::move(spec));
      }
    }
    for (StreamSpec& spec : sublayer->writes())
      known.push_back(std::move(spec));
  }
  return reads;
}

std::vector<StreamSpec> Stack::writes() const {
  std::vector<StreamSpec> writes;
  for (const auto& sublayer : sublayers_) {
    for (StreamSpec& spec : sublayer->writes()) {
      writes.push_back(std::move(spec));
    }
  }
  return writes;
}

int64_t Stack::runs() const {
  int64_t runs = 0;
  for (const auto& sublayer : sublayers_) runs += RunsOf(sublayer->mixer());
  return runs;
}

void Stack::AddStateEnds(std::vector<int64_t>* ends) const {
  for (const auto& sublayer : sublayers_) {
    AddStateEndsOf(sublayer->mixer(), ends);
  }
}

Status Stack::Supports(Device device) const {
  for (const auto& sublayer : sublayers_) {
    RETURN_IF_ERROR(sublayer->Supports(device));
  }
  return Status::Ok();
}

Tensor Stack::Forward(Context& ctx, const Tensor& x) const {
  Streams own;
  Context inner = ctx;
  if (inner.streams == nullptr) inner.streams = &own;
  Sublayer::Flow flow = {.x = x, .block = x, .previous = {}};
  for (size_t i = 0; i < sublayers_.size(); ++i) {
    StateView state;
    Context part = PartContext(inner, places_[i], &state);
    sublayers_[i]->Run(part, &flow);
  }
  return flow.x;
}

Doubles Stack::ReferenceWith(const Batch& batch,
                             const std::vector<Doubles>& weights,
                             const Doubles& x,
                             ReferenceStreams* streams) const {
  Sublayer::ReferenceFlow flow = {.x = x, .block = x, .previous = {}};
  for (size_t i = 0; i < sublayers_.size(); ++i) {
    sublayers_[i]->Reference(batch, PartWeights(weights, places_[i]), streams,
                             &flow);
  }
  return flow.x;
}

Result<std::unique_ptr<Mixer>> CreateStack(const Json& json, int dim) {
  ASSIGN_OR_RETURN(StackConfig config, ParseFields<StackConfig>(json, "stack"));
  ASSIGN_OR_RETURN(std::unique_ptr<Stack> stack,
                   Stack::Create(std::move(config.sublayers), dim, "stack"));
  return std::unique_ptr<Mixer>(std::move(stack));
}

Json ToJson(StackConfig config) {
  return WriteChanged([&](Fields& f) { config.Visit(f); },
                      [](Fields& f) { StackConfig().Visit(f); });
}

void StackFields(Fields& f, int dim) { VisitFresh<StackConfig>(f, dim); }

std::vector<MixerExample> StackExamples() {
  return {
      {.name = "norms_around",
       .config = R"({"sublayers": [
         {"mixer": "attention", "pre_norm": {"type": "none"},
          "post_norm": {"type": "rms"},
          "config": {"heads": 2, "head_dim": 8, "rope": {"theta": 10000}}},
         {"mixer": "glu", "pre_norm": {"type": "rms", "unit_offset": true},
          "post_norm": {"type": "layer"}, "residual_scale": 0.7,
          "config": {"hidden": 20}}]})",
       .dim = 12},
      {.name = "parallel_residual",
       .config = R"({"sublayers": [
         {"mixer": "attention", "pre_norm": {"type": "layer"},
          "config": {"heads": 2, "head_dim": 8}},
         {"mixer": "mlp", "input": "previous", "config": {"hidden": 20}},
         {"mixer": "glu", "input": "block", "config": {"hidden": 14}}]})",
       .dim = 12},
      {.name = "named_values",
       .config = R"({"sublayers": [
         {"mixer": "mlp", "config": {"hidden": 16}, "output": "replace",
          "save_as": "memory"},
         {"mixer": "retention", "to": "memory",
          "config": {"heads": 2, "key_dim": 8, "value_dim": 8}},
         {"mixer": "attention", "concat": [{"name": "memory", "dim": 12}],
          "config": {"heads": 2, "head_dim": 8, "out_dim": 12}},
         {"mixer": "glu", "from": "memory", "residual_scale": 0.5,
          "config": {"hidden": 10}}]})",
       .dim = 12},
      {.name = "values_of_the_first",
       .config = R"({"sublayers": [
         {"mixer": "rwkv7", "pre_norm": {"type": "layer"},
          "config": {"heads": 2, "head_dim": 6, "decay_rank": 4,
                     "rate_rank": 4, "gate_rank": 4, "values": "first"}},
         {"mixer": "rwkv_mix", "pre_norm": {"type": "layer"},
          "config": {"hidden": 20}},
         {"mixer": "rwkv7", "pre_norm": {"type": "layer"},
          "config": {"heads": 2, "head_dim": 6, "decay_rank": 4,
                     "rate_rank": 4, "gate_rank": 4, "value_rank": 3,
                     "values": "later"}}]})",
       .dim = 12},
  };
}

}  // namespace intarsia
