#include "intarsia/wiring/sublayer.h"

#include <nlohmann/json.hpp>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/rows/rows.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia {
namespace {

PartPlace Append(std::vector<WeightSpec> from, std::vector<WeightSpec>* to) {
  const PartPlace place = {.weight = to->size(), .weights = from.size()};
  for (WeightSpec& spec : from) to->push_back(std::move(spec));
  return place;
}

Tensor& Stream(Context& ctx, const std::string& name) {
  CHECK(ctx.streams != nullptr) << name;
  const auto found = ctx.streams->find(name);
  CHECK(found != ctx.streams->end())
      << "nobody wrote the named value \"" << name << "\"";
  return found->second;
}

// [T, A], [T, B] ... of one token each, side by side.
Doubles JoinRows(const std::vector<const Doubles*>& parts, int64_t rows) {
  Doubles out;
  for (int64_t t = 0; t < rows; ++t) {
    for (const Doubles* part : parts) {
      const int64_t width = static_cast<int64_t>(part->size()) / rows;
      out.insert(out.end(), part->begin() + t * width,
                 part->begin() + (t + 1) * width);
    }
  }
  return out;
}

Doubles ReferenceNorm(const NormConfig& norm,
                      const std::vector<Doubles>& weights, const Doubles& x,
                      int64_t width) {
  return reference::Normalize(norm, x, width,
                              weights.empty() ? nullptr : &weights[0],
                              weights.size() > 1 ? &weights[1] : nullptr);
}

}  // namespace

Result<std::unique_ptr<Sublayer>> Sublayer::Create(SublayerConfig config,
                                                   int dim,
                                                   const std::string& room,
                                                   const std::string& place) {
  std::unique_ptr<Sublayer> out(new Sublayer(std::move(config), dim));
  const SublayerConfig& c = out->config_;
  const int width = dim + c.concat_width();
  auto mixer = CreatePrimitive(c.mixer, Json::parse(c.config), width, room);
  if (!mixer.ok()) {
    return Status(mixer.status().code(),
                  mixer.status().message() + " (" + place + ")");
  }
  out->mixer_ = std::move(mixer).value();
  const int given = out->mixer_->out_dim() > 0 ? out->mixer_->out_dim() : width;
  if (given != dim) {
    return InvalidArgument("[" + room + "] " + place + ": what " + c.mixer +
                           " returns is " + std::to_string(given) +
                           " wide, the residual " + std::to_string(dim) +
                           "; its \"out_dim\" may say so");
  }
  out->pre_ =
      Append(NormWeights(c.pre_norm, "pre_norm", width), &out->weights_);
  out->mixed_ = Append(out->mixer_->weights(), &out->weights_);
  out->mixed_.states = out->mixer_->state().size();
  out->post_ =
      Append(NormWeights(c.post_norm, "post_norm", dim), &out->weights_);
  return out;
}

std::vector<StreamSpec> Sublayer::reads() const {
  std::vector<StreamSpec> reads = mixer_->reads();
  for (const SublayerConfig::Named& named : config_.concat) {
    reads.push_back({named.name, Shape({named.dim})});
  }
  for (const std::string& name : {config_.from, config_.to}) {
    if (!name.empty()) reads.push_back({name, Shape({dim_})});
  }
  return reads;
}

std::vector<StreamSpec> Sublayer::writes() const {
  std::vector<StreamSpec> writes = mixer_->writes();
  for (const std::string& name : {config_.to, config_.save_as}) {
    if (!name.empty()) writes.push_back({name, Shape({dim_})});
  }
  return writes;
}

Status Sublayer::Supports(Device device) const {
  return mixer_->Supports(device);
}

void Sublayer::Settle(Context& ctx, Flow* flow) {
  if (flow->lacking.defined()) flow->x = Add(ctx, flow->x, flow->lacking);
  flow->lacking = Tensor();
  if (!flow->block.defined()) flow->block = flow->x;
}

void Sublayer::Run(Context& ctx, Flow* flow) const {
  const auto norm = [&](const NormConfig& kind, const PartPlace& place,
                        const Tensor& x) {
    Context inner = ctx;
    inner.weights = ctx.weights.subspan(place.weight, place.weights);
    return ApplyNorm(inner, kind, x, inner.weights);
  };
  if (flow->lacking.defined() && config_.input == SublayerInput::kResidual &&
      config_.from.empty() && config_.concat.empty()) {
    Context inner = ctx;
    inner.weights = ctx.weights.subspan(pre_.weight, pre_.weights);
    flow->previous = AddAndNorm(inner, config_.pre_norm, flow->lacking,
                                &flow->x, inner.weights);
    flow->lacking = Tensor();
    Settle(ctx, flow);
  } else if (config_.input != SublayerInput::kPrevious) {
    Settle(ctx, flow);
    Tensor in = config_.input == SublayerInput::kBlock ? flow->block
                : config_.from.empty()                 ? flow->x
                                       : Stream(ctx, config_.from);
    if (!config_.concat.empty()) {
      std::vector<Tensor> parts = {in};
      for (const SublayerConfig::Named& named : config_.concat) {
        parts.push_back(Stream(ctx, named.name));
        CHECK_EQ(parts.back().dim(1), named.dim) << named.name;
      }
      in = JoinColumns(ctx, parts);
    }
    flow->previous = norm(config_.pre_norm, pre_, in);
  }
  Context inner = ctx;
  inner.weights = ctx.weights.subspan(mixed_.weight, mixed_.weights);
  Tensor h = ForwardWhole(inner, *mixer_, flow->previous);
  h = norm(config_.post_norm, post_, h);
  if (config_.residual_scale != 1.0f) h = Scale(ctx, h, config_.residual_scale);
  if (flow->may_lack && config_.to.empty() && !config_.replace &&
      config_.save_as.empty()) {
    Settle(ctx, flow);
    flow->lacking = h;
    return;
  }
  Settle(ctx, flow);
  Tensor& x = config_.to.empty() ? flow->x : Stream(ctx, config_.to);
  x = config_.replace ? h : Add(ctx, x, h);
  if (!config_.save_as.empty()) {
    CHECK(ctx.streams != nullptr) << config_.save_as;
    (*ctx.streams)[config_.save_as] = x;
  }
}

void Sublayer::Reference(const Batch& batch,
                         const std::vector<Doubles>& weights,
                         ReferenceStreams* streams, ReferenceFlow* flow) const {
  if (config_.input != SublayerInput::kPrevious) {
    const Doubles& in = config_.input == SublayerInput::kBlock ? flow->block
                        : config_.from.empty()                 ? flow->x
                                               : streams->at(config_.from);
    std::vector<const Doubles*> parts = {&in};
    for (const SublayerConfig::Named& named : config_.concat) {
      parts.push_back(&streams->at(named.name));
    }
    flow->previous = ReferenceNorm(config_.pre_norm, PartWeights(weights, pre_),
                                   JoinRows(parts, batch.size()),
                                   dim_ + config_.concat_width());
  }
  const Doubles h =
      ReferenceNorm(config_.post_norm, PartWeights(weights, post_),
                    ReferenceOf(*mixer_, batch, PartWeights(weights, mixed_),
                                flow->previous, streams),
                    dim_);
  Doubles& x = config_.to.empty() ? flow->x : streams->at(config_.to);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = (config_.replace ? 0.0 : x[i]) + config_.residual_scale * h[i];
  }
  if (!config_.save_as.empty()) (*streams)[config_.save_as] = x;
}

}  // namespace intarsia
