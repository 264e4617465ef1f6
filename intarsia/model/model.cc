#include "intarsia/model/model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/embedding/embedding.h"
#include "intarsia/ops/matmul/matmul.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia {
namespace {

// The stored shape of a matrix in `format`: block formats count bytes.
Shape StoredShape(const WeightSpec& spec, const Format& format) {
  if (format.storage() != DType::kU8) return spec.shape;
  const int last = spec.shape.rank() - 1;
  return spec.shape.With(
      last, static_cast<int64_t>(format.row_bytes(spec.shape[last])));
}

uint64_t HashPath(const std::string& path) {  // FNV-1a
  uint64_t hash = 0xCBF29CE484222325u;
  for (unsigned char c : path) hash = (hash ^ c) * 0x100000001B3u;
  return hash;
}

float InitialValue(const WeightInit& init, Random* random) {
  using Kind = WeightInit::Kind;
  const auto uniform = [&] {
    return init.a + (init.b - init.a) * random->NextUniform();
  };
  switch (init.kind) {
    case Kind::kNormal:
      return init.a * random->NextNormal();
    case Kind::kUniform:
      return uniform();
    case Kind::kConstant:
      return init.a;
    case Kind::kLogUniform:
      return std::log(uniform());
    case Kind::kInverseSoftplus: {
      const float low = std::log(init.a), high = std::log(init.b);
      const float x = std::exp(low + (high - low) * random->NextUniform());
      return x + std::log(-std::expm1(-x));
    }
  }
  return 0.0f;
}

// Uniform in bf16, two numbers a word of the generator: any part of it can be
// made alone.
Tensor UniformBf16(const Shape& shape, float deviation, const Random& random,
                   ThreadPool& pool) {
  Tensor out = Tensor::Empty(shape, DType::kBF16);
  bf16* data = out.mutable_data<bf16>();
  const float reach = deviation * std::sqrt(3.0f);
  const int64_t n = out.numel();
  pool.For((n + 7) / 8, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const auto words = random.At(static_cast<uint64_t>(block));
      for (int64_t i = 0; i < 8 && 8 * block + i < n; ++i) {
        const uint32_t half = words[i / 2] >> (i % 2 * 16) & 0xFFFF;
        const float u = static_cast<float>(half) * 0x1p-15f - 1.0f;
        data[8 * block + i] = ToBF16(reach * u);
      }
    }
  });
  return out;
}

// The named values that there are before the first block.
void WriteFirst(const ModelConfig& config, const Tensor& x, Streams* streams) {
  (*streams)["embedding"] = x;
  for (const std::string& name : config.streams) (*streams)[name] = x;
}

}  // namespace

Result<std::unique_ptr<Model>> Model::Create(ModelConfig config) {
  std::unique_ptr<Model> model(new Model());
  model->config_ = std::move(config);
  RETURN_IF_ERROR(model->Build());
  return model;
}

const Weight* Model::Declare(const std::string& path, WeightSpec spec) {
  auto weight = std::make_unique<Weight>(std::move(spec), nullptr, Tensor());
  const Weight* handle = weight.get();
  CHECK(weights_.emplace(path, std::move(weight)).second) << path;
  paths_.push_back(path);
  return handle;
}

const Weight* Model::DeclareOnce(const std::string& path, WeightSpec spec,
                                 Status* status) {
  if (spec.shared.empty()) return Declare(path, std::move(spec));
  const Weight* there = Find(spec.shared);
  if (there == nullptr) {
    const std::string shared = spec.shared;
    return Declare(shared, std::move(spec));
  }
  if (!(there->shape() == spec.shape) || there->spec().role != spec.role) {
    *status =
        InvalidArgument("[model] " + path + " is to be " + spec.shared +
                        ", which is " + there->shape().ToString() +
                        " elsewhere and " + spec.shape.ToString() + " here");
  }
  return there;
}

// Whatever a sublayer reads was written before, and is as wide.
Status Model::CheckStreams() const {
  std::map<std::string, Shape> known = {{"embedding", Shape({config_.dim})}};
  for (const std::string& name : config_.streams) {
    known[name] = Shape({config_.dim});
  }
  size_t flat = 0;
  for (const std::vector<Placed>& layer : layers_) {
    for (const Placed& placed : layer) {
      const std::string& name = state_.at(flat++).name;
      for (const StreamSpec& spec : placed.sublayer->reads()) {
        const auto found = known.find(spec.name);
        if (found == known.end() || !(found->second == spec.shape)) {
          return InvalidArgument(
              "[model] " + name + " reads the named value \"" + spec.name +
              "\" " + spec.shape.ToString() +
              (found == known.end()
                   ? ", which nobody wrote before"
                   : ", which is " + found->second.ToString()));
        }
      }
      for (const StreamSpec& spec : placed.sublayer->writes()) {
        const auto [at, added] = known.emplace(spec.name, spec.shape);
        if (!added && !(at->second == spec.shape)) {
          return InvalidArgument("[model] " + name + " writes \"" + spec.name +
                                 "\" " + spec.shape.ToString() +
                                 ", which was " + at->second.ToString());
        }
      }
    }
  }
  return Status::Ok();
}

Status Model::Build() {
  using Role = WeightSpec::Role;
  const int64_t dim = config_.dim;
  embedding_ = Declare("embedding", {.name = "embedding",
                                     .shape = {config_.vocab_size, dim},
                                     .role = Role::kTable});
  if (config_.learned_positions) {
    positions_ = Declare("positions", {.name = "positions",
                                       .shape = {config_.max_positions, dim},
                                       .role = Role::kTable});
  }
  auto declare_norm = [&](const NormConfig& norm, const std::string& prefix,
                          const std::string& name) {
    std::vector<const Weight*> handles;
    for (WeightSpec& spec : NormWeights(norm, name, dim)) {
      handles.push_back(Declare(prefix + spec.name, spec));
    }
    return handles;
  };
  embedding_norm_ = declare_norm(config_.embedding_norm, "", "embedding_norm");
  for (size_t i = 0; i < config_.blocks.size(); ++i) {
    std::vector<Placed>& layer = layers_.emplace_back();
    const std::vector<SublayerConfig>& sublayers = config_.blocks[i].sublayers;
    for (size_t j = 0; j < sublayers.size(); ++j) {
      const std::string name =
          "blocks." + std::to_string(i) + "." + std::to_string(j);
      Placed placed;
      ASSIGN_OR_RETURN(
          placed.sublayer,
          Sublayer::Create(sublayers[j], config_.dim, "model", name));
      for (const WeightSpec& spec : placed.sublayer->weights()) {
        Status status;
        placed.weights.push_back(
            DeclareOnce(name + "." + spec.name, spec, &status));
        RETURN_IF_ERROR(status);
      }
      state_.push_back({name, placed.sublayer->state()});
      reads_back_ |= placed.sublayer->mixer().reads_back();
      AddStateEndsOf(placed.sublayer->mixer(), &state_ends_);
      layer.push_back(std::move(placed));
    }
  }
  RETURN_IF_ERROR(CheckStreams());
  final_norm_ = declare_norm(config_.final_norm, "", "final_norm");
  head_ = config_.tied_head
              ? embedding_
              : Declare("head",
                        {.name = "head", .shape = {config_.vocab_size, dim}});
  if (config_.head_bias) {
    head_bias_ =
        Declare("head_bias", {.name = "head_bias",
                              .shape = {config_.vocab_size},
                              .role = Role::kVector,
                              .init = {WeightInit::Kind::kConstant, 0.0f},
                              .decay = false});
  }
  return Status::Ok();
}

const Weight* Model::Find(const std::string& path) const {
  auto it = weights_.find(path);
  return it == weights_.end() ? nullptr : it->second.get();
}

Weight* Model::Find(const std::string& path) {
  return const_cast<Weight*>(std::as_const(*this).Find(path));
}

Status Model::SetWeight(const std::string& path, const Format& format,
                        Tensor values) {
  Weight* weight = Find(path);
  if (weight == nullptr) {
    return NotFound("[model] there is no weight \"" + path + "\"");
  }
  const WeightSpec& spec = weight->spec();
  if (spec.role == WeightSpec::Role::kVector &&
      format.storage() != DType::kF32) {
    return InvalidArgument("[model] " + path + " must be f32");
  }
  if (spec.shape[spec.shape.rank() - 1] % format.block() != 0) {
    return InvalidArgument("[model] " + path + " " + spec.shape.ToString() +
                           " does not divide into blocks of " +
                           std::string(format.name()));
  }
  const Shape expected = StoredShape(spec, format);
  if (!(values.shape() == expected) || values.dtype() != format.storage()) {
    return InvalidArgument(
        "[model] " + path + " has shape " + values.shape().ToString() + " of " +
        std::string(Name(values.dtype())) + ", expected " +
        expected.ToString() + " of " + std::string(Name(format.storage())));
  }
  weight->set_values(&format, std::move(values));
  return Status::Ok();
}

Status Model::CheckComplete() const {
  std::string missing;
  int count = 0;
  for (const std::string& path : paths_) {
    if (Find(path)->defined()) continue;
    if (++count <= 5) missing += (count > 1 ? ", " : "") + path;
  }
  if (count == 0) return Status::Ok();
  if (count > 5) missing += " and " + std::to_string(count - 5) + " more";
  return DataLoss("[model] the checkpoint lacks " + missing);
}

void Model::InitWeights(uint64_t seed) {
  for (const std::string& path : paths_) {
    Weight* weight = Find(path);
    Random random = Random(seed).Fork(HashPath(path));
    Tensor values = Tensor::Empty(weight->shape());
    float* data = values.mutable_data<float>();
    for (int64_t i = 0; i < values.numel(); ++i) {
      data[i] = InitialValue(weight->spec().init, &random);
    }
    weight->set_values(&PlainFormat(DType::kF32), std::move(values));
  }
}

void Model::InitToMeasure(uint64_t seed, ThreadPool& pool) {
  for (const std::string& path : paths_) {
    Weight* weight = Find(path);
    const WeightSpec& spec = weight->spec();
    Random random = Random(seed).Fork(HashPath(path));
    if (spec.role == WeightSpec::Role::kVector) {
      Tensor values = Tensor::Empty(weight->shape());
      float* data = values.mutable_data<float>();
      for (int64_t i = 0; i < values.numel(); ++i) {
        data[i] = InitialValue(spec.init, &random);
      }
      weight->set_values(&PlainFormat(DType::kF32), std::move(values));
      continue;
    }
    weight->set_values(&PlainFormat(DType::kBF16),
                       UniformBf16(weight->shape(), spec.init.a, random, pool));
  }
}

void Model::SetTrainable(bool trainable) {
  for (const std::string& path : paths_) Find(path)->trainable = trainable;
}

void Model::MoveTo(Device device) {
  if (device.is_cuda()) {
    for (const std::vector<Placed>& layer : layers_) {
      for (const Placed& placed : layer) {
        const Status status = placed.sublayer->Supports(device);
        if (!status.ok()) throw EngineError(status.message());
      }
    }
  }
  for (const std::string& path : paths_) {
    Weight* weight = Find(path);
    if (!weight->defined()) continue;
    weight->set_values(&weight->format(), weight->values().To(device));
  }
  if (device.is_cuda()) Backend(device).Synchronize();
}

Tensor Model::Embed(Context& ctx) const {
  CHECK(ctx.batch != nullptr);
  Tensor x = Embedding(ctx, *embedding_, ctx.batch->tokens);
  if (config_.embedding_scale != 1.0f) {
    x = Scale(ctx, x, config_.embedding_scale);
  }
  if (positions_ != nullptr) {
    x = Add(ctx, x, Embedding(ctx, *positions_, ctx.batch->positions));
  }
  x = ApplyNorm(ctx, config_.embedding_norm, x, embedding_norm_);
  if (ctx.streams != nullptr) WriteFirst(config_, x, ctx.streams);
  return x;
}

Tensor Model::Blocks(Context& ctx, Tensor x, int begin, int end,
                     ModelState* state) const {
  CHECK(begin >= 0 && begin <= end && end <= blocks());
  Streams own;
  Streams* const streams = ctx.streams != nullptr ? ctx.streams : &own;
  if (ctx.streams == nullptr && begin == 0) WriteFirst(config_, x, streams);
  size_t flat = 0;
  for (int i = 0; i < begin; ++i) flat += layers_[i].size();
  Sublayer::Flow flow;
  flow.x = x;
  flow.may_lack =
      x.device().is_cuda() && ctx.tape == nullptr && ctx.observer == nullptr;
  for (int i = begin; i < end; ++i) {
    if (ctx.observer != nullptr) {
      ctx.observer->Observe("blocks." + std::to_string(i) + ".input", flow.x);
    }
    flow.block = flow.lacking.defined() ? Tensor() : flow.x;
    flow.previous = Tensor();
    for (const Placed& placed : layers_[i]) {
      Context inner = ctx;
      inner.weights = placed.weights;
      inner.state = state ? &state->sublayers.at(flat) : nullptr;
      inner.streams = streams;
      placed.sublayer->Run(inner, &flow);
      ++flat;
    }
  }
  Sublayer::Settle(ctx, &flow);
  return flow.x;
}

Tensor Model::Head(Context& ctx, const Tensor& x) const {
  if (ctx.observer != nullptr) ctx.observer->Observe("blocks.output", x);
  const Tensor h = ApplyNorm(ctx, config_.final_norm, x, final_norm_);
  if (ctx.observer != nullptr) ctx.observer->Observe("final_norm", h);
  Tensor logits = Linear(ctx, Cast(ctx, h, DType::kF32), *head_, head_bias_);
  if (config_.logit_scale != 1.0f) {
    logits = Scale(ctx, logits, config_.logit_scale);
  }
  if (config_.logit_softcap > 0) {
    logits = SoftCap(ctx, logits, config_.logit_softcap);
  }
  return logits;
}

Tensor Model::Forward(Context& ctx, ModelState* state,
                      std::span<const int32_t> rows) const {
  CHECK(ctx.dtype == DType::kF32 || ctx.device.is_cuda())
      << "activations in " << Name(ctx.dtype) << " on the CPU";
  Streams streams;
  Context inner = ctx;
  if (inner.streams == nullptr) inner.streams = &streams;
  Tensor x = Blocks(inner, Embed(inner), 0, blocks(), state);
  if (!rows.empty()) x = GatherRows(inner, x, rows);
  return Head(inner, x);
}

}  // namespace intarsia
