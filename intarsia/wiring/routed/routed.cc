#include "intarsia/wiring/routed/routed.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/channel_mixers/moe/moe.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/matmul/matmul.h"
#include "intarsia/ops/rows/rows.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia {

Routed::Routed(std::vector<Branch> branches, int dim)
    : branches_(std::move(branches)), dim_(dim) {
  WeightSpec router;
  router.name = "router";
  router.shape = Shape({static_cast<int64_t>(branches_.size()), dim});
  weights_.push_back(std::move(router));
  for (size_t i = 0; i < branches_.size(); ++i) {
    const Mixer& mixer = *branches_[i].mixer;
    branches_[i].place = AppendPart(std::to_string(i), mixer.weights(),
                                    mixer.state(), &weights_, &states_);
  }
}

int64_t Routed::runs() const {
  int64_t runs = 0;
  for (const Branch& branch : branches_) runs += RunsOf(*branch.mixer);
  return runs;
}

void Routed::AddStateEnds(std::vector<int64_t>* ends) const {
  for (const Branch& branch : branches_) AddStateEndsOf(*branch.mixer, ends);
}

Status Routed::Supports(Device device) const {
  if (!device.is_cuda()) return Status::Ok();
  return Unsupported(
      "[routed] has no CUDA kernels: its router chooses on the host; run "
      "this model with --device cpu");
}

Tensor Routed::Forward(Context& ctx, const Tensor& x) const {
  const MoeConfig router = {.dim = dim_,
                            .experts = static_cast<int>(branches_.size()),
                            .top_k = 1,
                            .normalize = false};
  const Tensor logits = Linear(ctx, x, ctx.weight(0));
  const MoeRouting routing = RouteTokens(ctx, router, logits);
  Tensor y;
  for (size_t i = 0; i < branches_.size(); ++i) {
    const Branch& branch = branches_[i];
    std::vector<int32_t> rows;
    for (int64_t t = 0; t < x.dim(0); ++t) {
      if (routing.experts[t] == static_cast<int32_t>(i)) {
        rows.push_back(static_cast<int32_t>(t));
      }
    }
    StateView state;
    Context part = PartContext(ctx, branch.place, &state);
    Tensor h;
    if (branch.every_token) {
      h = ForwardWhole(part, *branch.mixer, x);
      if (rows.empty()) continue;
      h = GatherRows(ctx, h, rows);
    } else {
      if (rows.empty()) continue;
      const Batch chosen = ctx.batch->Select(rows);
      part.batch = &chosen;
      h = ForwardWhole(part, *branch.mixer, GatherRows(ctx, x, rows));
    }
    const Tensor weights = ReshapeView(
        ctx, GatherRows(ctx, routing.weights, rows), Shape({h.dim(0)}));
    h = CombineRows(ctx, h, rows, weights, x.dim(0));
    y = y.defined() ? Add(ctx, y, h) : h;
  }
  return y.defined() ? y : Tensor::Zeros(x.shape());
}

Doubles Routed::ReferenceWith(const Batch& batch,
                              const std::vector<Doubles>& weights,
                              const Doubles& x,
                              ReferenceStreams* streams) const {
  const int64_t n = static_cast<int64_t>(branches_.size());
  std::vector<Doubles> all;
  for (const Branch& branch : branches_) {
    all.push_back(ReferenceOf(*branch.mixer, batch,
                              PartWeights(weights, branch.place), x, streams));
  }
  Doubles y(x.size());
  for (int64_t t = 0; t < batch.size(); ++t) {
    Doubles logits(n, 0.0);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t d = 0; d < dim_; ++d) {
        logits[i] += weights[0][i * dim_ + d] * x[t * dim_ + d];
      }
    }
    const int64_t best = std::ranges::max_element(logits) - logits.begin();
    double sum = 0;
    for (double logit : logits) sum += std::exp(logit - logits[best]);
    for (int64_t d = 0; d < dim_; ++d) {
      y[t * dim_ + d] = all[best][t * dim_ + d] / sum;
    }
  }
  return y;
}

Result<std::unique_ptr<Mixer>> CreateRouted(const Json& json, int dim) {
  ASSIGN_OR_RETURN(const RoutedConfig config,
                   ParseFields<RoutedConfig>(json, "routed"));
  std::vector<Routed::Branch> branches;
  for (const PartConfig& part : config.branches) {
    const std::string place =
        "branches[" + std::to_string(branches.size()) + "]";
    Routed::Branch branch;
    ASSIGN_OR_RETURN(
        branch.mixer,
        CreatePrimitive(part.mixer, Json::parse(part.config), dim, "routed"));
    const Mixer& mixer = *branch.mixer;
    if (mixer.out_dim() > 0 && mixer.out_dim() != dim) {
      return InvalidArgument("[routed] " + place +
                             " must return as many channels as come in");
    }
    if (!mixer.reads().empty() || !mixer.writes().empty()) {
      return InvalidArgument("[routed] " + place +
                             " reads or writes named values, which not every "
                             "token would have");
    }
    branch.every_token = FindPrimitive(part.mixer)->kind != MixerKind::kChannel;
    branches.push_back(std::move(branch));
  }
  return std::unique_ptr<Mixer>(new Routed(std::move(branches), dim));
}

void RoutedFields(Fields& f, int dim) { VisitFresh<RoutedConfig>(f, dim); }

std::vector<MixerExample> RoutedExamples() {
  return {
      {.name = "attention_or_retention",
       .config = R"({"branches": [
         {"mixer": "attention",
          "config": {"heads": 2, "head_dim": 8, "rope": {"theta": 10000}}},
         {"mixer": "retention",
          "config": {"heads": 2, "key_dim": 8, "value_dim": 8}}]})",
       .dim = 12},
      {.name = "glu_or_mlp",
       .config = R"({"branches": [
         {"mixer": "glu", "config": {"hidden": 10}},
         {"mixer": "mlp", "config": {"hidden": 14}}]})",
       .dim = 12},
  };
}

}  // namespace intarsia
