#include "intarsia/wiring/parallel/parallel.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/mixers/common/reference_ops.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia {
namespace {

Tensor Scaled(Context& ctx, const Tensor& x, float factor) {
  return factor == 1.0f ? x : Scale(ctx, x, factor);
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
        AppendPart(name, NormWeights(branch.config.norm, "branch_norm", dim),
                   {}, &weights_, &states_);
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

int64_t Parallel::runs() const {
  int64_t runs = 0;
  for (const Branch& branch : branches_) runs += RunsOf(*branch.mixer);
  return runs;
}

void Parallel::AddStateEnds(std::vector<int64_t>* ends) const {
  for (const Branch& branch : branches_) AddStateEndsOf(*branch.mixer, ends);
}

Status Parallel::Supports(Device device) const {
  for (const Branch& branch : branches_) {
    RETURN_IF_ERROR(branch.mixer->Supports(device));
  }
  return Status::Ok();
}

Tensor Parallel::Forward(Context& ctx, const Tensor& x) const {
  Tensor sum;
  for (const Branch& branch : branches_) {
    StateView state, none;
    Context part = PartContext(ctx, branch.place, &state);
    Tensor h = ForwardWhole(part, *branch.mixer,
                            Scaled(ctx, x, branch.config.input_scale));
    Context norm = PartContext(ctx, branch.norm_place, &none);
    h = Scaled(ctx, ApplyNorm(norm, branch.config.norm, h, norm.weights),
               branch.config.output_scale);
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
    for (double& value : in) value *= branch.config.input_scale;
    const std::vector<Doubles> norm = PartWeights(weights, branch.norm_place);
    const Doubles h = reference::Normalize(
        branch.config.norm,
        ReferenceOf(*branch.mixer, batch, PartWeights(weights, branch.place),
                    in, streams),
        dim_, norm.empty() ? nullptr : &norm[0],
        norm.size() > 1 ? &norm[1] : nullptr);
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += factor * branch.config.output_scale * h[i];
    }
  }
  return sum;
}

void ParallelConfig::Branch::Visit(Fields& f) {
  part.Visit(f);
  f.NumberOr("input_scale", &input_scale);
  f.NumberOr("output_scale", &output_scale);
  f.Object("norm", &norm);
}

void ParallelConfig::Visit(Fields& f) {
  f.List("branches", &branches, {1, 64});
  static constexpr ChoiceName kCombine[] = {{"sum", false}, {"mean", true}};
  f.ChoiceOr("combine", &mean, kCombine);
}

Result<std::unique_ptr<Mixer>> CreateParallel(const Json& json, int dim) {
  ASSIGN_OR_RETURN(const ParallelConfig config,
                   ParseFields<ParallelConfig>(json, "parallel"));
  std::vector<Parallel::Branch> branches;
  int out_dim = 0;
  for (const ParallelConfig::Branch& part : config.branches) {
    const std::string place =
        "branches[" + std::to_string(branches.size()) + "]";
    Parallel::Branch branch = {.config = part};
    ASSIGN_OR_RETURN(
        branch.mixer,
        CreatePrimitive(part.part.mixer, Json::parse(part.part.config), dim,
                        "parallel"));
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
      new Parallel(std::move(branches), config.mean, out_dim));
}

void ParallelFields(Fields& f, int dim) { VisitFresh<ParallelConfig>(f, dim); }

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
