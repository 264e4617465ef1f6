// RetNet as flash-linear-attention publishes it.
#include <nlohmann/json.hpp>

#include "intarsia/families/rows.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

const TensorNames& Tensors() {
  static const auto* const table =
      new TensorNames{.rows = {{"embedding", "model.embeddings.weight"},
                               {"final_norm", "model.norm.weight"},
                               {"head", "lm_head.weight"},
                               {"0.pre_norm", "attn_norm.weight"},
                               {"0.q_proj", "attn.q_proj.weight"},
                               {"0.k_proj", "attn.k_proj.weight"},
                               {"0.v_proj", "attn.v_proj.weight"},
                               {"0.g_proj", "attn.g_proj.weight"},
                               {"0.o_proj", "attn.o_proj.weight"},
                               {"0.norm", "attn.g_norm.weight"},
                               {"1.pre_norm", "mlp_norm.weight"},
                               {"1.gate", "mlp.gate_proj.weight"},
                               {"1.up", "mlp.up_proj.weight"},
                               {"1.down", "mlp.down_proj.weight"}}};
  return *table;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "retnet");
  const int layers = reader.Int("num_hidden_layers", 1, 4096);
  const int dim = reader.Int("hidden_size");
  const int heads = reader.Int("num_heads", 1, 65536);
  const double expand_k = reader.NumberOr("expand_k", 1.0);
  const double expand_v = reader.NumberOr("expand_v", 2.0);
  reader.RequireField(expand_k > 0 && expand_k <= 64, "expand_k", "in (0, 64]");
  reader.RequireField(expand_v > 0 && expand_v <= 64, "expand_v", "in (0, 64]");
  const double eps = ReadEps(&reader, "norm_eps", 1e-6);
  const int ratio = reader.IntOr("hidden_ratio", 2, 1, 64);
  const int hidden = reader.IntOr("intermediate_size", dim * ratio, 1);
  reader.Expect("hidden_act", "swish");
  reader.Expect("use_output_gate", true);
  reader.Expect("use_short_conv", false);
  reader.Expect("elementwise_affine", true);
  reader.Expect("num_kv_heads", heads);
  // Attention layers and feature maps.
  for (const char* key : {"attn", "feature_map", "attnres_block_size"}) {
    reader.Expect(key, nullptr);
  }
  IgnoreBookkeeping(&reader);
  // How that implementation computes, not what.
  reader.Ignore({"attn_mode", "conv_size", "fuse_cross_entropy", "fuse_norm",
                 "fuse_linear_cross_entropy", "fuse_swiglu", "use_l2warp"});
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "retnet";
  config.vocab_size = reader.Int("vocab_size");
  config.dim = dim;
  config.max_positions = reader.IntOr("max_position_embeddings", 0);
  config.tied_head = reader.BoolOr("tie_word_embeddings", false);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  RETURN_IF_ERROR(reader.status());  // the products below fit an int
  const int key_dim = static_cast<int>(dim * expand_k) / heads;
  const int value_dim = static_cast<int>(dim * expand_v) / heads;
  reader.Require(key_dim >= 2 && value_dim >= 1,
                 "\"expand_k\" and \"expand_v\" leave heads without channels");
  RETURN_IF_ERROR(reader.status());
  const NormConfig norm = RmsNormConfig(eps);
  config.final_norm = norm;
  const Json retention = {{"heads", heads},
                          {"key_dim", key_dim},
                          {"value_dim", value_dim},
                          {"rope", {{"theta", 10000.0}}},
                          {"norm", {{"type", "rms"}, {"eps", eps}}}};
  const Json glu = {{"hidden", hidden}, {"activation", "silu"}};
  BlockConfig block;
  block.sublayers = {{"retention", retention.dump(), norm, 1.0f},
                     {"glu", glu.dump(), norm, 1.0f}};
  config.blocks.assign(layers, block);
  model.tensors = MapRows(Tensors(), FileKind::kHuggingFace, config);
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family RetNetFamily() {
  return {.name = "retnet",
          .model_types = {"retnet"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr};
}

}  // namespace intarsia
