#include "intarsia/wiring/shared/shared.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/wiring/primitives.h"

namespace intarsia {

Result<std::unique_ptr<Shared>> Shared::Create(SharedConfig config,
                                               std::unique_ptr<Mixer> mixer) {
  std::unique_ptr<Shared> out(new Shared());
  out->weights_ = mixer->weights();
  out->place_ = {.weights = out->weights_.size(),
                 .states = mixer->state().size()};
  for (WeightSpec& spec : out->weights_) {
    if (spec.shared.empty())
      spec.shared = "shared." + config.name + "." + spec.name;
  }
  std::vector<std::string> added;
  for (size_t i = 0; i < config.loras.size(); ++i) {
    SharedConfig::Lora& lora = config.loras[i];
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
                               "\", which is no matrix of " +
                               config.part.mixer + " or is named before");
      }
      if (config.part.mixer == "mla" &&
          (weight == "k_up" || weight == "v_up")) {
        return Unsupported("[shared] \"lora\" cannot add to \"" + weight +
                           "\" of mla, which multiplies it from both sides");
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
  out->loras_ = std::move(config.loras);
  return out;
}

int64_t Shared::runs() const { return RunsOf(*mixer_); }

void Shared::AddStateEnds(std::vector<int64_t>* ends) const {
  AddStateEndsOf(*mixer_, ends);
}

Status Shared::Supports(Device device) const {
  return mixer_->Supports(device);
}

Tensor Shared::Forward(Context& ctx, const Tensor& x) const {
  StateView state;
  Context part = PartContext(ctx, place_, &state);
  std::vector<Adapter> adapters(ctx.adapters.begin(), ctx.adapters.end());
  for (const SharedConfig::Lora& lora : loras_) {
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
  for (const SharedConfig::Lora& lora : loras_) {
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

void SharedConfig::Lora::Visit(Fields& f) {
  f.Int("rank", &rank, {1, 1 << 16});
  f.NumberOr("scale", &scale);
  f.Names("weights", &weights, {1, 1 << 16});
}

void SharedConfig::Visit(Fields& f) {
  f.String("name", &name);
  f.RequireField(
      !name.empty() && std::ranges::all_of(name,
                                           [](unsigned char c) {
                                             return std::isalnum(c) || c == '_';
                                           }),
      "name", "letters, digits and _");
  part.Visit(f);
  f.List("lora", &loras, {0, 64});
}

Result<std::unique_ptr<Mixer>> CreateShared(const Json& json, int dim) {
  ASSIGN_OR_RETURN(SharedConfig config,
                   ParseFields<SharedConfig>(json, "shared"));
  ASSIGN_OR_RETURN(
      std::unique_ptr<Mixer> mixer,
      CreatePrimitive(config.part.mixer, Json::parse(config.part.config), dim,
                      "shared"));
  ASSIGN_OR_RETURN(std::unique_ptr<Shared> shared,
                   Shared::Create(std::move(config), std::move(mixer)));
  return std::unique_ptr<Mixer>(std::move(shared));
}

void SharedFields(Fields& f, int dim) { VisitFresh<SharedConfig>(f, dim); }

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
