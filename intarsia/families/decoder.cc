#include "intarsia/families/decoder.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "intarsia/families/rope_fields.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr NormConfig kNone = {.kind = NormConfig::Kind::kNone};

// The family's rows, then Llama's that they do not replace.
std::vector<FieldRow> AllFields(const DecoderTraits& traits) {
  std::vector<FieldRow> rows(traits.fields.begin(), traits.fields.end());
  std::vector<FieldRow> shared(LlamaFields().begin(), LlamaFields().end());
  shared.push_back({"window", "sliding_window"});
  for (const FieldRow& row : shared) {
    const auto same = [&](const FieldRow& own) {
      return std::string_view(own.ours) == row.ours;
    };
    if (std::ranges::none_of(traits.fields, same)) rows.push_back(row);
  }
  return rows;
}

void ReadSizes(const DecoderTraits& traits, DecoderDraft* d) {
  FieldReader& fields = d->fields;
  d->layers = fields.Int("layers", 1, 4096);
  d->config.dim = fields.Int("dim");
  d->heads = fields.Int("heads", 1, 65536);
  d->kv_heads = fields.IntsOr("kv_heads", d->layers, 65536);
  if (d->kv_heads.empty()) d->kv_heads.assign(d->layers, d->heads);
  d->head_dim = fields.IntOr("head_dim", d->config.dim / d->heads, 1, 65536);
  d->json.Require(d->head_dim > 0, "\"" + fields.NameOf("heads") +
                                       "\" must not be more than \"" +
                                       fields.NameOf("dim") + "\"");
  d->hidden = fields.IntsOr("hidden", d->layers, 1 << 24);
  if (d->hidden.empty()) d->hidden.assign(d->layers, 4 * d->config.dim);
  d->config.name = traits.family;
  d->config.vocab_size = d->gguf() ? d->json.IntOr("vocab_size", 0, 1, 1 << 24)
                                   : d->json.Int("vocab_size");
  d->config.max_positions = fields.IntOr("max_positions", 0);
  d->config.tied_head = fields.BoolOr("tied", false);
  if (!d->gguf()) {
    d->config.bos_id = d->json.IntOr("bos_token_id", -1, -1);
    d->config.eos_ids = d->json.Ids("eos_token_id");
  }
  d->norm = traits.norm;
  if (traits.eps) {
    d->norm.eps = static_cast<float>(fields.Eps("eps", traits.norm.eps));
  }
  d->first = {.mixer = "attention", .config = {}, .pre_norm = d->norm};
  d->second = {.mixer = "glu", .config = {}, .pre_norm = d->norm};
  d->mlp["activation"] = fields.StringOr("activation", traits.activation);
  d->windows.assign(d->layers, 0);
  d->turns.assign(d->layers, traits.rope);
  d->names = LlamaNames();
}

// The rotary positions of layers that have a window, or have none.
Json RopeOf(const DecoderTraits& traits, bool paired, bool slides,
            DecoderDraft* d) {
  if (d->gguf()) {
    return RopeFromGguf(&d->json, d->head_dim, paired, d->config.max_positions,
                        &d->warnings);
  }
  const int positions = d->config.max_positions;
  const RopeDefaults defaults = {
      .family = traits.family,
      .theta = traits.theta,
      .head_dim = d->head_dim,
      .max_positions = positions > 0 ? positions : traits.positions,
      .partial = traits.partial};
  const char* type = !d->typed ? ""
                     : slides  ? "sliding_attention"
                               : "full_attention";
  Json rope = RopeFromConfig(&d->json, defaults, type, &d->warnings);
  if (traits.pairs && rope.is_object()) rope["interleaved"] = true;
  return rope;
}

void Compose(const DecoderTraits& traits, bool paired, DecoderDraft* d) {
  std::map<bool, Json> ropes;  // of layers that slide, and of others
  const auto rope_of = [&](int layer) {
    const bool slides = d->typed && d->windows[layer] > 0;
    const auto [at, fresh] = ropes.try_emplace(slides);
    if (fresh) at->second = RopeOf(traits, paired, slides, d);
    return d->turns[layer] ? at->second : Json(false);
  };
  for (int i = 0; i < d->layers; ++i) {
    Json attention = d->attention, mlp = d->mlp;
    if (!d->own.empty()) attention.update(d->own[i]);
    attention["heads"] = d->heads;
    attention["kv_heads"] = d->kv_heads[i];
    attention["head_dim"] = d->head_dim;
    attention["rope"] = traits.rope ? rope_of(i) : Json(false);
    if (d->windows[i] > 0) attention["window"] = d->windows[i];
    mlp["hidden"] = d->hidden[i];
    BlockConfig& block = d->config.blocks.emplace_back();
    block.sublayers = {d->first, d->second};
    block.sublayers[0].config = attention.dump();
    block.sublayers[1].config = mlp.dump();
    if (!d->sparse.empty() && d->sparse[i]) {
      block.sublayers[1].mixer = "moe";
      block.sublayers[1].config = d->moe.dump();
    }
  }
  d->config.final_norm = d->norm;
}

}  // namespace

float DecoderDraft::Scale(const std::string& ours) {
  const double value = fields.NumberOr(ours, 1.0);
  json.RequireField(value > 0, fields.NameOf(ours), "positive");
  return static_cast<float>(value);
}

void DecoderDraft::Bias(bool qkv, bool out) {
  attention["bias"] = {{"q", qkv}, {"k", qkv}, {"v", qkv}, {"o", out}};
}

void DecoderDraft::ReadBiases() {
  const bool all = fields.BoolOr("attention_bias", false);
  Bias(all, all);
  mlp["bias"] = fields.BoolOr("mlp_bias", false);
}

void DecoderDraft::ReadWindow() {
  windows.assign(layers, fields.IntOr("window", 0, 1));
}

void DecoderDraft::ReadLayerTypes(int pattern) {
  const int window = fields.IntOr("window", 0, 1);
  const Json* types = json.Find("layer_types");
  const bool each =
      types == nullptr ||
      (types->is_array() && static_cast<int>(types->size()) == layers);
  json.Require(each, "\"layer_types\" must name each of the layers");
  for (int i = 0; each && i < layers; ++i) {
    const Json full = "full_attention", slides = "sliding_attention";
    const Json& type = types != nullptr                        ? (*types)[i]
                       : pattern > 0 && (i + 1) % pattern != 0 ? slides
                                                               : full;
    json.Require(type == full || type == slides,
                 "a layer type is neither \"sliding_attention\" nor "
                 "\"full_attention\"",
                 StatusCode::kUnsupported);
    json.Require(
        type != slides || window > 0,
        "layers slide, but \"" + fields.NameOf("window") + "\" says no window");
    windows[i] = type == slides ? window : 0;
  }
}

void DecoderDraft::Parallel() {
  second.pre_norm = kNone;
  second.input = SublayerInput::kPrevious;
}

void DecoderDraft::NormsAfter(bool before_too) {
  first.post_norm = second.post_norm = norm;
  if (before_too) {
    names.rows.push_back(
        {"1.pre_norm", "pre_feedforward_layernorm.weight", ""});
  } else {
    first.pre_norm = second.pre_norm = kNone;
  }
}

void DecoderDraft::QkNorm(const NormConfig& of, const std::string& over) {
  attention["qk_norm"] = NormJson(of);
  if (over != "head") attention["qk_norm_over"] = over;
}

void DecoderDraft::TwoMatrices(bool bias) {
  second.mixer = "mlp";
  mlp["bias"] = bias;
}

void DecoderDraft::Experts(int experts, int top_k, int width, Json own,
                           const std::string& block) {
  // A small file must not ask for a map of 2^28 tensors.
  json.Require(int64_t{layers} * experts <= 1 << 16,
               "more than 65536 experts in all layers");
  sparse.assign(layers, true);
  moe = std::move(own);
  moe["experts"] = experts;
  moe["top_k"] = top_k;
  moe["hidden"] = width;
  moe["activation"] = mlp["activation"];
  names.rows.push_back({"1.router", block + "gate.weight"});
  TensorNames fused = names;
  for (const std::string part : {"gate", "up", "down"}) {
    names.rows.push_back(
        {"1." + part, block + "experts.%." + part + "_proj.weight"});
  }
  for (const char* part : {"1.gate", "1.up"}) {
    fused.rows.push_back(
        {.ours = part, .hf = block + "experts.gate_up_proj", .axis = 1});
  }
  fused.rows.push_back({"1.down", block + "experts.down_proj"});
  other_names.push_back(std::move(fused));
}

void DecoderDraft::SharedExpert(int width, const std::string& front) {
  moe["shared_hidden"] = width;
  for (const std::string part : {"gate", "up", "down"}) {
    ExpertRow("1.shared_" + part, front + part + "_proj.weight");
  }
}

void DecoderDraft::ExpertRow(const std::string& ours, const std::string& hf) {
  names.rows.push_back({ours, hf});
  for (TensorNames& other : other_names) other.rows.push_back({ours, hf});
}

void DecoderDraft::ReadSparseLayers() {
  const int step = json.IntOr("decoder_sparse_step", 1, 1);
  const Json* dense = json.Find("mlp_only_layers");
  json.RequireField(dense == nullptr || dense->is_array(), "mlp_only_layers",
                    "a list");
  for (int i = 0; i < layers; ++i) {
    const bool only = dense != nullptr && dense->is_array() &&
                      std::ranges::count(*dense, Json(i)) > 0;
    sparse[i] = (i + 1) % step == 0 && !only;
  }
}

void DecoderDraft::Fuse(const std::vector<std::string>& ours,
                        const std::string& hf, int64_t groups) {
  for (const std::string& part : ours) {
    names.rows.push_back({.ours = part, .hf = hf, .groups = groups});
  }
}

void DecoderDraft::FuseQkv(const std::string& hf, int64_t groups) {
  Fuse({"0.q_proj", "0.k_proj", "0.v_proj"}, hf + ".weight", groups);
  Fuse({"0.q_bias", "0.k_bias", "0.v_bias"}, hf + ".bias", groups);
}

Json RopesByType(Json config, const RopeOfSliding& sliding) {
  const Json newer = config.value("rope_parameters", Json());
  const auto nested = [](const Json& value) { return value.is_object(); };
  if (newer.is_object() && std::ranges::any_of(newer, nested)) return config;
  Json full = config.value("rope_scaling", Json());
  if (!full.is_object()) full = newer.is_object() ? newer : Json::object();
  const Json theta = config.value("rope_theta", Json(sliding.full_theta));
  if (!full.contains("rope_theta")) full["rope_theta"] = theta;
  Json other = {{"rope_type", "default"}, {"rope_theta", full["rope_theta"]}};
  if (*sliding.theta != '\0') {
    other["rope_theta"] =
        config.value(sliding.theta, Json(sliding.default_theta));
    config.erase(sliding.theta);
  }
  config.erase("rope_scaling");
  config.erase("rope_theta");
  config["rope_parameters"] = {{"full_attention", full},
                               {"sliding_attention", other}};
  return config;
}

namespace {

Result<FamilyModel> Read(const DecoderTraits& traits, FileKind kind,
                         const std::string& prefix, bool paired,
                         const Json& config) {
  const std::vector<FieldRow> rows = AllFields(traits);
  FieldReader fields(config, traits.family, rows, kind, prefix);
  DecoderDraft d{.fields = fields, .json = fields.json()};
  ReadSizes(traits, &d);
  RETURN_IF_ERROR(fields.status());
  if (traits.edit != nullptr) traits.edit(&d);
  Compose(traits, paired, &d);
  if (traits.finish != nullptr && fields.status().ok()) traits.finish(&d);
  if (d.gguf()) {
    d.json.Expect("attention.value_length", d.head_dim);
  } else {
    IgnoreBookkeeping(&d.json);
  }
  RETURN_IF_ERROR(fields.status());
  FamilyModel model{.config = std::move(d.config),
                    .tensors = {},
                    .warnings = std::move(d.warnings),
                    .unread = d.json.Unread()};
  model.tensors = MapRows(d.names, kind, model.config);
  for (const TensorNames& names : d.other_names) {
    model.other_layouts.push_back(MapRows(names, kind, model.config));
  }
  return model;
}

}  // namespace

Result<FamilyModel> ReadDecoder(const DecoderTraits& traits,
                                const Json& config) {
  return Read(traits, FileKind::kHuggingFace, "", false, config);
}

Result<FamilyModel> ReadGgufDecoder(const DecoderTraits& traits,
                                    const std::string& architecture,
                                    bool paired, const Json& metadata) {
  ASSIGN_OR_RETURN(
      FamilyModel model,
      Read(traits, FileKind::kGguf, architecture + ".", paired, metadata));
  ReadGgufIds(metadata, &model.config);
  return model;
}

GgufForm DecoderGguf(const DecoderTraits& traits, const char* class_name,
                     const char* activation) {
  // Made once for each family, for as long as the process lives.
  static auto* const kept =
      new std::vector<std::unique_ptr<std::vector<FieldRow>>>();
  kept->push_back(std::make_unique<std::vector<FieldRow>>(AllFields(traits)));
  return {.class_name = class_name,
          .rows = *kept->back(),
          .fixed = {{"hidden_act", activation}}};
}

}  // namespace intarsia
