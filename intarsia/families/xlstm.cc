// xLSTM 7B: blocks of mLSTM and a gated unit.
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "xlstm");
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "xlstm";
  config.dim = reader.Int("hidden_size", 1, 1 << 18);
  config.vocab_size = reader.Int("vocab_size");
  config.tied_head = reader.BoolOr("tie_word_embeddings", false);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  const int blocks = reader.IntOr("num_hidden_layers",
                                  reader.IntOr("num_blocks", 32, 1), 1, 4096);
  const int heads = reader.IntOr("num_heads", 8, 1, 1 << 12);
  const auto width = [&](const char* name, double fallback) {
    const double factor = reader.NumberOr(name, fallback);
    reader.RequireField(factor > 0 && factor <= 64, name, "positive");
    const int all = static_cast<int>(config.dim * factor);
    reader.Require(all >= heads && all % heads == 0,
                   std::string("\"") + name +
                       "\" of \"hidden_size\" must be a multiple of "
                       "\"num_heads\"");
    return std::max(1, all / heads);
  };
  const int keys = width("qk_dim_factor", 0.5);
  const int values = width("v_dim_factor", 1.0);
  const double factor = reader.NumberOr("ffn_proj_factor", 2.667);
  reader.RequireField(factor > 0 && factor <= 64, "ffn_proj_factor",
                      "positive");
  const int64_t multiple =
      reader.IntOr("ffn_round_up_to_multiple_of", 64, 1, 1 << 20);
  // Rounded up as the library does, whose division is one of floats.
  const int64_t hidden =
      static_cast<int64_t>((config.dim * factor + double(multiple - 1)) /
                           double(multiple)) *
      multiple;
  const NormConfig norm = RmsNormConfig(ReadEps(&reader, "norm_eps", 1e-6));
  const Json mixer = {{"heads", heads},
                      {"key_dim", keys},
                      {"value_dim", values},
                      {"gate_softcap", reader.NumberOr("gate_soft_cap", 15.0)},
                      {"eps", ReadEps(&reader, "eps", 1e-6)},
                      {"norm_eps", norm.eps}};
  config.logit_softcap =
      static_cast<float>(reader.NumberOr("output_logit_soft_cap", 30.0));
  reader.RequireField(config.logit_softcap > 0, "output_logit_soft_cap",
                      "positive");
  reader.Expect("use_bias", false);
  reader.Expect("add_out_norm", true);
  reader.Expect("weight_mode", "single");
  IgnoreBookkeeping(&reader);
  // The widths and counts again, and how libraries compute.
  reader.Ignore({"embedding_dim", "num_blocks", "chunk_size", "mode",
                 "autocast_kernel_dtype", "chunkwise_kernel", "sequence_kernel",
                 "step_kernel", "inference_state_dtype", "return_last_states",
                 "max_inference_chunksize", "norm_reduction_force_float32"});
  RETURN_IF_ERROR(reader.status());
  config.final_norm = norm;
  BlockConfig block;
  block.sublayers = {
      {.mixer = "xlstm", .config = mixer.dump(), .pre_norm = norm},
      {.mixer = "glu",
       .config = Json{{"hidden", hidden}}.dump(),
       .pre_norm = norm}};
  config.blocks.assign(blocks, block);
  MapPairs(
      "", "backbone.",
      {{"embedding", "embeddings.weight"}, {"final_norm", "out_norm.weight"}},
      &model.tensors);
  if (!config.tied_head) {
    MapPairs("", "", {{"head", "lm_head.weight"}}, &model.tensors);
  }
  for (int i = 0; i < blocks; ++i) {
    const std::string number = std::to_string(i) + ".";
    MapPairs("blocks." + number, "backbone.blocks." + number,
             {{"0.pre_norm", "norm_mlstm.weight"},
              {"0.q_proj", "mlstm_layer.q.weight"},
              {"0.k_proj", "mlstm_layer.k.weight"},
              {"0.v_proj", "mlstm_layer.v.weight"},
              {"0.o_gate", "mlstm_layer.ogate_preact.weight"},
              {"0.i_gate", "mlstm_layer.igate_preact.weight"},
              {"0.i_gate_bias", "mlstm_layer.igate_preact.bias"},
              {"0.f_gate", "mlstm_layer.fgate_preact.weight"},
              {"0.f_gate_bias", "mlstm_layer.fgate_preact.bias"},
              {"0.norm", "mlstm_layer.multihead_norm.weight"},
              {"0.out_proj", "mlstm_layer.out_proj.weight"},
              {"1.pre_norm", "norm_ffn.weight"},
              {"1.gate", "ffn.proj_up_gate.weight"},
              {"1.up", "ffn.proj_up.weight"},
              {"1.down", "ffn.proj_down.weight"}},
             &model.tensors);
  }
  model.unread = reader.Unread();
  return model;
}

}  // namespace

Family XlstmFamily() {
  return {.name = "xlstm",
          .model_types = {"xlstm"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr,
          .base = "backbone.",
          .defaults = {{"norm_eps", "1e-06"}, {"eps", "1e-06"}}};
}

}  // namespace intarsia
