// Zamba 2: Mamba-2 layers; before some of them a transformer of few sets of
// weights, which sees the embedding beside the residual and whose MLP has a
// low-rank addition for each use.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/rope_fields.h"
#include "intarsia/families/transformer.h"
#include "intarsia/wiring/stack/stack.h"

namespace intarsia {
namespace {

struct Dims {
  int layers = 0, hidden = 0, units = 1;
  bool tied = true;
  bool attention_lora = false;  // q, k and v have additions too
  std::vector<int> hybrids;     // layers with a transformer
};

std::string Layer(int layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

std::vector<TensorMap> MapTensors(const Dims& d, const Mamba2Part& mamba) {
  std::vector<TensorMap> maps = {
      {.native = "embedding", .foreign = "model.embed_tokens.weight"},
      {.native = "final_norm", .foreign = "model.final_layernorm.weight"}};
  const auto map = [&](const std::string& native, const std::string& foreign,
                       int64_t begin = 0, int64_t end = -1) {
    maps.push_back({.native = native,
                    .foreign = foreign + ".weight",
                    .row_begin = begin,
                    .row_end = end});
  };
  if (!d.tied) map("head", "lm_head");
  const int hybrids = static_cast<int>(d.hybrids.size());
  for (int u = 0; u < std::min(d.units, hybrids); ++u) {
    const std::string ours = "shared.unit" + std::to_string(u) + ".";
    const std::string theirs = Layer(d.hybrids[u]) + "shared_transformer.";
    map(ours + "0.pre_norm", theirs + "input_layernorm");
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
      map(ours + "0." + name, theirs + "self_attn." + name);
    }
    map(ours + "1.pre_norm", theirs + "pre_ff_layernorm");
    const std::string mlp = theirs + "feed_forward.";
    map(ours + "1.gate", mlp + "gate_up_proj", 0, d.hidden);
    map(ours + "1.up", mlp + "gate_up_proj", d.hidden, 2 * d.hidden);
    map(ours + "1.down", mlp + "down_proj");
  }
  for (int i = 0; i < d.layers; ++i) {
    const auto at = std::ranges::find(d.hybrids, i);
    const std::string ours = "blocks." + std::to_string(i) + ".0.";
    std::string mixer = ours, theirs = Layer(i);
    if (at != d.hybrids.end()) {
      const int use = static_cast<int>(at - d.hybrids.begin());
      const std::string low = Layer(d.hybrids[use % d.units]) +
                              "shared_transformer.feed_forward."
                              "gate_up_proj_adapter_list." +
                              std::to_string(use) + ".";
      const std::string lora = ours + "0.0.lora.0.";
      map(lora + "a", low + "0");
      map(lora + "1.gate", low + "1", 0, d.hidden);
      map(lora + "1.up", low + "1", d.hidden, 2 * d.hidden);
      for (int p = 0; d.attention_lora && p < 3; ++p) {
        const std::string name(1, "qkv"[p]);
        const std::string pair = Layer(d.hybrids[use % d.units]) +
                                 "shared_transformer.self_attn.linear_" + name +
                                 "_adapter_list." + std::to_string(use) + ".";
        const std::string own =
            ours + "0.0.lora." + std::to_string(p + 1) + ".";
        map(own + "a", pair + "0");
        map(own + "0." + name + "_proj", pair + "1");
      }
      map(ours + "0.1.weight", theirs + "linear");
      mixer = ours + "1.";
      theirs += "mamba_decoder.";
    }
    map(mixer + "pre_norm", theirs + "input_layernorm");
    MapMamba2(mamba, mixer, theirs + "mamba.", &maps);
  }
  return maps;
}

void ReadLayers(JsonReader* reader, Dims* d) {
  const Json* types = reader->Find("layers_block_type");
  const bool each = types != nullptr && types->is_array() &&
                    static_cast<int>(types->size()) == d->layers;
  reader->Require(each, "\"layers_block_type\" must name each of the layers");
  for (int i = 0; each && i < d->layers; ++i) {
    const Json& type = (*types)[i];
    if (type == "hybrid") d->hybrids.push_back(i);
    reader->Require(
        type == "hybrid" || type == "linear_attention" || type == "mamba",
        "a layer's type is neither \"linear_attention\" nor \"hybrid\"",
        StatusCode::kUnsupported);
  }
}

// x ← x + mamba(norm(x + W transformer([x; embedding]))).
SublayerConfig Hybrid(const Json& unit, const std::string& name, int rank,
                      bool attention_lora, const SublayerConfig& mamba) {
  Json lora = Json::array(
      {{{"weights", Json::array({"1.gate", "1.up"})}, {"rank", rank}}});
  for (const char* matrix : {"0.q_proj", "0.k_proj", "0.v_proj"}) {
    if (!attention_lora) break;
    lora.push_back({{"weights", Json::array({matrix})}, {"rank", rank}});
  }
  const SublayerConfig transformer = {.mixer = "shared",
                                      .config = Json{{"name", name},
                                                     {"mixer", "stack"},
                                                     {"config", unit},
                                                     {"lora", lora}}
                                                    .dump(),
                                      .pre_norm = NoNorm(),
                                      .replace = true};
  const SublayerConfig linear = {
      .mixer = "linear", .config = "{}", .pre_norm = NoNorm(), .replace = true};
  const auto stack = [](const SublayerConfig& a, const SublayerConfig& b) {
    return SublayerConfig{.mixer = "stack",
                          .config = ToJson(StackConfig{{a, b}}).dump(),
                          .pre_norm = NoNorm()};
  };
  SublayerConfig inner = mamba;
  inner.replace = true;
  return stack(stack(transformer, linear), inner);
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "zamba2");
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "zamba2";
  Dims d;
  d.layers = reader.Int("num_hidden_layers", 1, 4096);
  config.dim = reader.Int("hidden_size", 1, 1 << 20);
  d.hidden = reader.IntOr("intermediate_size", 4 * config.dim, 1, 1 << 24);
  d.units = reader.IntOr("num_mem_blocks", 1, 1, 64);
  d.tied = reader.BoolOr("tie_word_embeddings", true);
  ReadLayers(&reader, &d);
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.tied_head = d.tied;
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  const double eps = ReadEps(&reader, "rms_norm_eps", 1e-5);
  const std::string activation = reader.StringOr("hidden_act", "gelu");
  const int rank = reader.IntOr("adapter_rank", 128, 1, 1 << 16);
  reader.Expect("add_bias_linear", false);
  d.attention_lora = reader.BoolOr("use_shared_attention_adapter", false);
  reader.Expect("use_long_context", false);
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const int kv_heads = reader.IntOr("num_key_value_heads", heads, 1, 65536);
  const int head_dim = std::max(1, 2 * config.dim / heads);

  Mamba2Part mamba;
  mamba.heads = reader.IntOr("n_mamba_heads", 8, 1, 1 << 14);
  const int64_t inner =
      int64_t{reader.IntOr("mamba_expand", 2, 1, 64)} * config.dim;
  reader.Require(2 * config.dim % heads == 0 && inner % mamba.heads == 0 &&
                     inner / mamba.heads <= 1 << 12,
                 "\"num_attention_heads\" and \"n_mamba_heads\" must divide "
                 "the widths of their layers");
  mamba.head_dim =
      static_cast<int>(std::clamp<int64_t>(inner / mamba.heads, 1, 1 << 12));
  mamba.groups = reader.IntOr("mamba_ngroups", 1, 1, 1 << 14);
  mamba.state = reader.IntOr("mamba_d_state", 64, 1, 1 << 12);
  mamba.conv_bias = reader.BoolOr("use_conv_bias", true);
  mamba.Compose(reader.IntOr("mamba_d_conv", 4, 2, 64), 1e-5);
  mamba.config["dt_min"] = reader.NumberOr("time_step_min", 0.001);
  const bool turns = reader.BoolOr("use_mem_rope", false);
  const Json rope = RopeFromConfig(&reader,
                                   {.family = "zamba2",
                                    .head_dim = head_dim,
                                    .max_positions = config.max_positions},
                                   "", &model.warnings);
  IgnoreBookkeeping(&reader);
  // Repeated by other fields, initial values, or how that library computes.
  reader.Ignore({"attention_head_dim", "attention_hidden_size", "kv_channels",
                 "hybrid_layer_ids", "mamba_headdim", "num_query_groups",
                 "chunk_size", "time_step_floor", "time_step_max",
                 "use_mamba_kernels", "use_mem_eff_path",
                 "num_logits_to_keep"});
  RETURN_IF_ERROR(reader.status());
  const NormConfig norm = RmsNormConfig(eps);
  config.final_norm = norm;
  const SublayerConfig attention = {
      .mixer = "attention",
      .config = Json{{"heads", heads},
                     {"kv_heads", kv_heads},
                     {"head_dim", head_dim},
                     {"out_dim", config.dim},
                     {"scale", 1.0 / std::sqrt(head_dim / 2.0)},
                     {"rope", turns ? rope : Json(false)}}
                    .dump(),
      .pre_norm = norm,
      .replace = true,
      .concat = {{"embedding", config.dim}}};
  const SublayerConfig mlp = {
      .mixer = "glu",
      .config = Json{{"hidden", d.hidden}, {"activation", activation}}.dump(),
      .pre_norm = norm,
      .replace = true};
  const Json unit = ToJson(StackConfig{{attention, mlp}});
  const SublayerConfig plain = {
      .mixer = "mamba2", .config = mamba.config.dump(), .pre_norm = norm};
  size_t use = 0;
  for (int i = 0; i < d.layers; ++i) {
    BlockConfig block;
    if (std::ranges::count(d.hybrids, i) > 0) {
      const std::string name = "unit" + std::to_string(use++ % d.units);
      block.sublayers = {Hybrid(unit, name, rank, d.attention_lora, plain)};
    } else {
      block.sublayers = {plain};
    }
    config.blocks.push_back(std::move(block));
  }
  model.tensors = MapTensors(d, mamba);
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family Zamba2Family() {
  return {.name = "zamba2",
          .model_types = {"zamba2"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .aliases = {{"layer_types", "layers_block_type"}},
          .defaults = {{"rms_norm_eps", "1e-05"}}};
}

}  // namespace intarsia
