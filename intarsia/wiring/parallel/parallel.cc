#include "intarsia/wiring/parallel/parallel.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"
#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia {
namespace {

Tensor Scaled(Context& ctx, const Tensor& x, float factor) {
  return factor == 1.0f ? x : Scale(ctx, x, factor);
}

Result<Parallel::Branch> ReadBranch(const Json& json, int dim,
                                    const std::string& place) {
  JsonReader reader(json, "parallel", {.path = place});
  Parallel::Branch branch;
  branch.name = reader.String("mixer");
  branch.input_scale = static_cast<float>(reader.NumberOr("input_scale", 1.0));
  branch.output_scale =
      static_cast<float>(reader.NumberOr("output_scale", 1.0));
  if (const Json* norm = reader.Find("norm")) {
    branch.norm = reader.Take(ParseNorm(*norm, "parallel"), branch.norm);
  }
  const Json config = reader.ObjectOr("config");
  RETURN_IF_ERROR(reader.Finish());
  ASSIGN_OR_RETURN(branch.mixer,
                   CreatePrimitive(branch.name, config, dim, "parallel"));
  return branch;
}

}  // namespace

Parallel::Parallel(std::vector<Branch> branches, bool mean, int dim)
    : branches_(std::move(branches)), mean_(mean), dim_(dim) {
  for (size_t i = 0; i < branches_.size(); ++i) {
    Branch& branch = branches_[i];
    const std::string name = std::to_string(i);
    branch.place = AppendPart(name, branch.mixer->weights(),
                              branch.mixer->state(), &weights_, &states_);
    branch.norm_place =
        AppendPart(name, NormWeights(branch.norm, "branch_norm", dim), {},
                   &weights_, &states_);
  }
}

bool Parallel::reads_back() const {
  return std::ranges::any_of(branches_, [](const Branch& branch) {
    return branch.mixer->reads_back();
  });
}

std::vector<StreamSpec> Parallel::reads() const {
  std::vector<StreamSpec> all;
  for (const Branch& branch : branches_) {
    for (StreamSpec& spec : branch.mixer->reads()) all.push_back(spec);
  }
  return all;
}

std::vector<StreamSpec> Parallel::writes() const {
  std::vector<StreamSpec> all;
  for (const Branch& branch : branches_) {
    for (StreamSpec& spec : branch.mixer->writes()) all.push_back(spec);
  }
  return all;
}

void Parallel::AddStateEnds(std::vector<int64_t>* ends) const {
  for (const Branch& branch : branches_) AddStateEndsOf(*branch.mixer, ends);
}

Status Parallel::Supports(Device device) const {
  for (const Branch& branch : branches_) {
    RETURN_IF_ERROR(SupportsDevice(branch.name, *branch.mixer, device));
  }
  return Status::Ok();
}

Tensor Parallel::Forward(Context& ctx, const Tensor& x) const {
  Tensor sum;
  for (const Branch& branch : branches_) {
    StateView state, none;
    Context part = PartContext(ctx, branch.place, &state);
    Tensor h =
        ForwardWhole(part, *branch.mixer, Scaled(ctx, x, branch.input_scale));
    Context norm = PartContext(ctx, branch.norm_place, &none);
    h = Scaled(ctx, ApplyNorm(norm, branch.norm, h, norm.weights),
               branch.output_scale);
    sum = sum.defined() ? Add(ctx, sum, h) : h;
  }
  return mean_ ? Scale(ctx, sum, 1.0f / static_cast<float>(branches_.size()))
               : sum;
}

Doubles Parallel::ReferenceWith(const Batch& batch,
                                const std::vector<Doubles>& weights,
                                const Doubles& x,
                                ReferenceStreams* streams) const {
  Doubles sum(batch.size() * dim_, 0.0);
  const double factor = mean_ ? 1.0 / static_cast<double>(branches_.size()) : 1;
  for (const Branch& branch : branches_) {
    Doubles in = x;
    for (double& value : in) value *= branch.input_scale;
    const std::vector<Doubles> norm = PartWeights(weights, branch.norm_place);
    const Doubles h = reference::Normalize(
        branch.norm,
        ReferenceOf(*branch.mixer, batch, PartWeights(weights, branch.place),
                    in, streams),
        dim_, norm.empty() ? nullptr : &norm[0],
        norm.size() > 1 ? &norm[1] : nullptr);
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += factor * branch.output_scale * h[i];
    }
  }
  return sum;
}

Result<std::unique_ptr<Mixer>> CreateParallel(const Json& json, int dim) {
  JsonReader reader(json, "parallel");
  const Json* list = reader.List("branches");
  const std::string combine = reader.StringOr("combine", "sum");
  reader.RequireField(combine == "sum" || combine == "mean", "combine",
                      "\"sum\" or \"mean\"");
  RETURN_IF_ERROR(reader.Finish());
  if (list->size() > 64) {
    return InvalidArgument("[parallel] \"branches\" are more than 64");
  }
  std::vector<Parallel::Branch> branches;
  int out_dim = 0;
  for (const Json& item : *list) {
    const std::string place =
        "branches[" + std::to_string(branches.size()) + "]";
    ASSIGN_OR_RETURN(Parallel::Branch branch, ReadBranch(item, dim, place));
    const int width =
        branch.mixer->out_dim() > 0 ? branch.mixer->out_dim() : dim;
    if (out_dim != 0 && width != out_dim) {
      return InvalidArgument("[parallel] " + place + " returns " +
                             std::to_string(width) + " channels, others " +
                             std::to_string(out_dim));
    }
    out_dim = width;
    branches.push_back(std::move(branch));
  }
  return std::unique_ptr<Mixer>(
      new Parallel(std::move(branches), combine == "mean", out_dim));
}

std::vector<MixerExample> ParallelExamples() {
  return {
      {.name = "attention_and_mamba2",
       .config = R"({"branches": [
         {"mixer": "attention", "input_scale": 0.8, "output_scale": 1.3,
          "config": {"heads": 2, "head_dim": 8, "rope": {"theta": 10000}}},
         {"mixer": "mamba2", "output_scale": 0.6,
          "config": {"heads": 2, "head_dim": 8, "state_dim": 6}}]})",
       .dim = 12},
      {.name = "mean_of_norms",
       .config = R"({"combine": "mean", "branches": [
         {"mixer": "retention", "norm": {"type": "rms"},
          "config": {"heads": 2, "key_dim": 8, "value_dim": 8}},
         {"mixer": "glu", "norm": {"type": "layer"},
          "config": {"hidden": 10}}]})",
       .dim = 12},
  };
}

}  // namespace intarsia
