#include "intarsia/wiring/shared/shared.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia {

Result<std::unique_ptr<Shared>> Shared::Create(const std::string& name,
                                               const std::string& primitive,
                                               std::unique_ptr<Mixer> mixer,
                                               std::vector<Lora> loras) {
  std::unique_ptr<Shared> out(new Shared());
  out->primitive_ = primitive;
  out->weights_ = mixer->weights();
  out->place_ = {.weights = out->weights_.size(),
                 .states = mixer->state().size()};
  for (WeightSpec& spec : out->weights_) {
    if (spec.shared.empty()) spec.shared = "shared." + name + "." + spec.name;
  }
  std::vector<std::string> added;
  for (size_t i = 0; i < loras.size(); ++i) {
    Lora& lora = loras[i];
    const std::string front = "lora." + std::to_string(i) + ".";
    WeightSpec a;
    a.name = front + "a";
    lora.a = out->weights_.size();
    out->weights_.push_back(a);
    for (const std::string& weight : lora.weights) {
      const auto end = out->weights_.begin() +
                       static_cast<std::ptrdiff_t>(out->place_.weights);
      const auto found = std::ranges::find(out->weights_.begin(), end, weight,
                                           &WeightSpec::name);
      if (found == end || found->role != WeightSpec::Role::kMatrix ||
          found->shape.rank() != 2 || std::ranges::count(added, weight) > 0) {
        return InvalidArgument("[shared] \"lora\" names \"" + weight +
                               "\", which is no matrix of " + primitive +
                               " or is named before");
      }
      added.push_back(weight);
      const WeightSpec w = *found;
      const Shape shape({lora.rank, w.shape[1]});
      const ShardRule of_a = w.shard.axis == 1 ? w.shard : ShardRule{};
      if (!lora.w.empty() &&
          (!(a.shape == shape) || a.shard.axis != of_a.axis)) {
        return InvalidArgument("[shared] \"lora\": " + weight +
                               " has another input than " + lora.weights[0]);
      }
      a.shape = shape;
      a.shard = of_a;
      WeightSpec b;
      b.name = front + weight;
      b.shape = Shape({w.shape[0], lora.rank});
      if (w.shard.axis == 0) b.shard = w.shard;
      b.init = {WeightInit::Kind::kConstant, 0.0f, 0.0f};
      lora.w.push_back(found - out->weights_.begin());
      lora.b.push_back(out->weights_.size());
      out->weights_.push_back(std::move(b));
    }
    out->weights_[lora.a] = a;
  }
  out->mixer_ = std::move(mixer);
  out->loras_ = std::move(loras);
  return out;
}

void Shared::AddStateEnds(std::vector<int64_t>* ends) const {
  AddStateEndsOf(*mixer_, ends);
}

Status Shared::Supports(Device device) const {
  return SupportsDevice(primitive_, *mixer_, device);
}

Tensor Shared::Forward(Context& ctx, const Tensor& x) const {
  StateView state;
  Context part = PartContext(ctx, place_, &state);
  std::vector<Adapter> adapters(ctx.adapters.begin(), ctx.adapters.end());
  for (const Lora& lora : loras_) {
    for (size_t i = 0; i < lora.w.size(); ++i) {
      adapters.push_back({.of = ctx.weights[lora.w[i]],
                          .a = ctx.weights[lora.a],
                          .b = ctx.weights[lora.b[i]],
                          .scale = lora.scale});
    }
  }
  part.adapters = adapters;
  return mixer_->Forward(part, x);
}

Doubles Shared::ReferenceWith(const Batch& batch,
                              const std::vector<Doubles>& weights,
                              const Doubles& x,
                              ReferenceStreams* streams) const {
  std::vector<Doubles> own = PartWeights(weights, place_);
  for (const Lora& lora : loras_) {
    const Doubles& a = weights[lora.a];
    const int64_t k = static_cast<int64_t>(a.size()) / lora.rank;
    for (size_t i = 0; i < lora.w.size(); ++i) {
      Doubles& w = own[lora.w[i]];
      const Doubles& b = weights[lora.b[i]];
      for (size_t at = 0; at < w.size(); ++at) {
        for (int64_t r = 0; r < lora.rank; ++r) {
          w[at] += lora.scale * b[at / k * lora.rank + r] * a[r * k + at % k];
        }
      }
    }
  }
  return ReferenceOf(*mixer_, batch, own, x, streams);
}

Result<std::unique_ptr<Mixer>> CreateShared(const Json& json, int dim) {
  JsonReader reader(json, "shared");
  const std::string name = reader.String("name");
  reader.RequireField(
      !name.empty() && std::ranges::all_of(name,
                                           [](unsigned char c) {
                                             return std::isalnum(c) || c == '_';
                                           }),
      "name", "letters, digits and _");
  const std::string primitive = reader.String("mixer");
  const Json config = reader.ObjectOr("config");
  const Json* list = reader.Find("lora");
  reader.RequireField(
      list == nullptr || (list->is_array() && list->size() <= 64), "lora",
      "a list of up to 64 additions");
  RETURN_IF_ERROR(reader.Finish());
  std::vector<Shared::Lora> loras;
  for (const Json& item : list == nullptr ? Json::array() : *list) {
    JsonReader part(item, "shared",
                    {.path = "lora[" + std::to_string(loras.size()) + "]"});
    Shared::Lora lora;
    lora.rank = part.Int("rank", 1, 1 << 16);
    lora.scale = static_cast<float>(part.NumberOr("scale", 1.0));
    const Json* weights = part.List("weights");
    RETURN_IF_ERROR(part.Finish());
    for (const Json& weight : *weights) {
      part.RequireField(weight.is_string(), "weights", "names");
      RETURN_IF_ERROR(part.status());
      lora.weights.push_back(weight.get<std::string>());
    }
    loras.push_back(std::move(lora));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Mixer> mixer,
                   CreatePrimitive(primitive, config, dim, "shared"));
  ASSIGN_OR_RETURN(
      std::unique_ptr<Shared> shared,
      Shared::Create(name, primitive, std::move(mixer), std::move(loras)));
  return std::unique_ptr<Mixer>(std::move(shared));
}

std::vector<MixerExample> SharedExamples() {
  return {
      {.name = "with_lora",
       .config = R"({"name": "unit", "mixer": "stack", "config": {"sublayers": [
           {"mixer": "attention", "config": {"heads": 2, "head_dim": 8}},
           {"mixer": "glu", "config": {"hidden": 10}}]},
         "lora": [{"weights": ["1.gate", "1.up"], "rank": 3, "scale": 0.5},
                  {"weights": ["1.down"], "rank": 2},
                  {"weights": ["0.o_proj"], "rank": 2}]})",
       .dim = 12},
      {.name = "glu",
       .config = R"({"name": "unit", "mixer": "glu", "config": {"hidden": 10},
                     "lora": [{"weights": ["gate", "up"], "rank": 4},
                              {"weights": ["down"], "rank": 2}]})",
       .dim = 12},
  };
}

}  // namespace intarsia
