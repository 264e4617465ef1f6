// LFM2: short convolutions, and attention with norms of queries and keys in
// some layers.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/rope_fields.h"
#include "intarsia/families/rows.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

// The gated unit's width as the library derives it.
int64_t UnitWidth(JsonReader* reader) {
  const int given = reader->IntOr(
      "intermediate_size", reader->IntOr("block_ff_dim", 12288, 1, 1 << 24), 1,
      1 << 24);
  const int multiple = reader->IntOr("block_multiple_of", 256, 1, 1 << 20);
  const double factor = reader->NumberOr("block_ffn_dim_multiplier", 1.0);
  reader->RequireField(factor > 0 && factor < 64, "block_ffn_dim_multiplier",
                       "positive");
  if (!reader->BoolOr("block_auto_adjust_ff_dim", true)) return given;
  const int64_t width = static_cast<int64_t>(factor * (2 * int64_t{given} / 3));
  return std::max<int64_t>(1, (width + multiple - 1) / multiple) * multiple;
}

// Whether each layer attends: by its type, or by the older list of numbers.
std::vector<bool> ReadLayers(JsonReader* reader, int layers) {
  std::vector<bool> attends(layers, false);
  const Json* types = reader->Find("layer_types");
  const Json* list = reader->Find("full_attn_idxs");
  if (types != nullptr) {
    const bool each =
        types->is_array() && static_cast<int>(types->size()) == layers;
    reader->Require(each, "\"layer_types\" must name each of the layers");
    for (int i = 0; each && i < layers; ++i) {
      attends[i] = (*types)[i] == "full_attention";
      reader->Require(attends[i] || (*types)[i] == "conv",
                      "a layer's type is neither \"conv\" nor "
                      "\"full_attention\"",
                      StatusCode::kUnsupported);
    }
    return attends;
  }
  if (list == nullptr) return std::vector<bool>(layers, true);
  reader->RequireField(list->is_array(), "full_attn_idxs",
                       "a list of numbers of layers");
  if (!list->is_array()) return attends;
  for (int i = 0; i < layers && list->is_array(); ++i) {
    attends[i] = std::find(list->begin(), list->end(), Json(i)) != list->end();
  }
  return attends;
}

std::vector<TensorMap> MapTensors(const std::vector<bool>& attends, int dense,
                                  int experts, bool select_bias, bool bias,
                                  int64_t dim) {
  std::vector<TensorMap> maps;
  MapPairs("", "model.",
           {{"embedding", "embed_tokens.weight"},
            {"final_norm", "embedding_norm.weight"}},
           &maps);
  const NamePairs unit = {
      {"gate", "w1.weight"}, {"up", "w3.weight"}, {"down", "w2.weight"}};
  for (size_t i = 0; i < attends.size(); ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = "model.layers." + std::to_string(i) + ".";
    MapPairs(ours, theirs,
             {{"0.pre_norm", "operator_norm.weight"},
              {"1.pre_norm", "ffn_norm.weight"}},
             &maps);
    if (attends[i]) {
      MapPairs(ours + "0.", theirs + "self_attn.",
               {{"q_proj", "q_proj.weight"},
                {"k_proj", "k_proj.weight"},
                {"v_proj", "v_proj.weight"},
                {"o_proj", "out_proj.weight"},
                {"q_norm", "q_layernorm.weight"},
                {"k_norm", "k_layernorm.weight"}},
               &maps);
    } else {
      int64_t row = 0;
      for (const std::string part : {"in_B", "in_C", "in_x"}) {
        for (const bool of_bias : {false, true}) {
          if (of_bias && !bias) continue;
          maps.push_back(
              {.native = ours + "0." + part + (of_bias ? "_bias" : ""),
               .foreign =
                   theirs + "conv.in_proj" + (of_bias ? ".bias" : ".weight"),
               .row_begin = row,
               .row_end = row + dim});
        }
        row += dim;
      }
      maps.push_back({.native = ours + "0.conv",
                      .foreign = theirs + "conv.conv.weight",
                      .unsqueeze = 1});
      MapPairs(ours + "0.", theirs + "conv.", {{"out_proj", "out_proj.weight"}},
               &maps);
      if (bias) {
        MapPairs(ours + "0.", theirs + "conv.",
                 {{"conv_bias", "conv.bias"}, {"out_bias", "out_proj.bias"}},
                 &maps);
      }
    }
    const std::string mlp = theirs + "feed_forward.";
    if (experts == 0 || static_cast<int>(i) < dense) {
      MapPairs(ours + "1.", mlp, unit, &maps);
      continue;
    }
    MapPairs(ours + "1.", mlp, {{"router", "gate.weight"}}, &maps);
    if (select_bias) {
      MapPairs(ours + "1.", mlp, {{"select_bias", "expert_bias"}}, &maps);
    }
    for (int e = 0; e < experts; ++e) {
      const size_t first = maps.size();
      MapPairs(ours + "1.", mlp + "experts." + std::to_string(e) + ".", unit,
               &maps);
      for (size_t m = first; m < maps.size(); ++m) maps[m].stack = e;
    }
  }
  return maps;
}

Result<FamilyModel> FromConfig(const Json& json) {
  const bool sparse = json.value("model_type", "") == "lfm2_moe";
  JsonReader reader(json, sparse ? "lfm2_moe" : "lfm2");
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = sparse ? "lfm2_moe" : "lfm2";
  const int layers = reader.Int("num_hidden_layers", 1, 4096);
  config.dim = reader.Int("hidden_size", 1, 1 << 18);
  config.vocab_size = reader.Int("vocab_size");
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.tied_head = reader.BoolOr("tie_word_embeddings",
                                   reader.BoolOr("tie_embedding", true));
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  const NormConfig norm = RmsNormConfig(ReadEps(&reader, "norm_eps", 1e-5));
  const int64_t hidden =
      sparse ? reader.Int("intermediate_size") : UnitWidth(&reader);
  const std::vector<bool> attends = ReadLayers(&reader, layers);
  const int heads = reader.Int("num_attention_heads", 1, 65536);
  const int kv_heads = reader.IntOr("num_key_value_heads", heads, 1, 65536);
  const bool bias = reader.BoolOr("conv_bias", false);
  const Json conv = {{"width", reader.IntOr("conv_L_cache", 3, 2, 64)},
                     {"bias", bias}};
  Json experts;
  const int dense = sparse ? reader.IntOr("num_dense_layers", 2) : layers;
  if (sparse) {
    const int count = reader.Int("num_experts", 1, 1 << 16);
    // A small file must not ask for a map of 2^28 tensors.
    reader.Require(int64_t{layers} * count <= 1 << 16,
                   "more than 65536 experts in all layers");
    experts = {{"experts", count},
               {"top_k", reader.Int("num_experts_per_tok", 1, count)},
               {"hidden", reader.Int("moe_intermediate_size")},
               {"router_score", "sigmoid"},
               {"select_bias", reader.BoolOr("use_expert_bias", true)},
               {"normalize", reader.BoolOr("norm_topk_prob", true)},
               {"normalize_eps", 1e-6},
               {"routed_scale", reader.NumberOr("routed_scaling_factor", 1.0)}};
  }
  const Json rope = RopeFromConfig(&reader,
                                   {.family = config.name.c_str(),
                                    .head_dim = config.dim / heads,
                                    .max_positions = config.max_positions},
                                   "", &model.warnings);
  IgnoreBookkeeping(&reader);
  // Widths again under older names, initial values, how libraries compute.
  reader.Ignore({"block_dim", "block_mlp_init_scale", "block_norm_eps",
                 "block_out_init_scale", "block_use_swiglu",
                 "block_use_xavier_init", "block_ff_dim", "conv_dim",
                 "conv_dim_out", "conv_use_xavier_init", "num_heads",
                 "use_pos_enc", "full_attn_idxs", "tie_embedding"});
  RETURN_IF_ERROR(reader.status());
  config.final_norm = norm;
  const Json attention = {{"heads", heads},
                          {"kv_heads", kv_heads},
                          {"qk_norm", {{"type", "rms"}, {"eps", norm.eps}}},
                          {"rope", rope}};
  for (int i = 0; i < layers; ++i) {
    const bool routes = i >= dense;
    BlockConfig block;
    block.sublayers = {
        {.mixer = attends[i] ? "attention" : "short_conv",
         .config = (attends[i] ? attention : conv).dump(),
         .pre_norm = norm},
        {.mixer = routes ? "moe" : "glu",
         .config = (routes ? experts : Json{{"hidden", hidden}}).dump(),
         .pre_norm = norm}};
    config.blocks.push_back(std::move(block));
  }
  model.tensors = MapTensors(
      attends, dense, sparse ? experts["experts"].get<int>() : 0,
      sparse && experts["select_bias"].get<bool>(), bias, config.dim);
  if (!config.tied_head) {
    MapPairs("", "", {{"head", "lm_head.weight"}}, &model.tensors);
  }
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family Lfm2Family() {
  return {.name = "lfm2",
          .model_types = {"lfm2", "lfm2_moe"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .defaults = {{"norm_eps", "1e-05"}}};
}

}  // namespace intarsia
