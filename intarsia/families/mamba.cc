// Mamba as transformers publishes it.
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/transformer.h"

namespace intarsia {

Result<FamilyModel> MambaFromConfig(const char* family, const Json& json) {
  JsonReader reader(json, family);
  const bool falcon = std::string(family) == "falcon_mamba";
  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = family;
  config.dim = reader.Int("hidden_size", 1, 1 << 18);
  config.vocab_size = reader.Int("vocab_size");
  config.tied_head = reader.BoolOr("tie_word_embeddings", true);
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  const int layers = reader.Int("num_hidden_layers", 1, 4096);
  const double eps = ReadEps(&reader, "layer_norm_epsilon", 1e-5);
  const int expand = reader.IntOr("expand", 2, 1, 64);
  MambaPart mamba;
  mamba.inner =
      reader.IntOr("intermediate_size", expand * config.dim, 1, 1 << 20);
  mamba.state = reader.IntOr("state_size", 16, 1, 1 << 12);
  mamba.rank = ReadStepRank(&reader, "time_step_rank", config.dim);
  mamba.conv_bias = reader.BoolOr("use_conv_bias", true);
  mamba.bias = reader.BoolOr("use_bias", false);
  NormConfig inner = NoNorm();
  if (falcon) {
    inner = RmsNormConfig(ReadEps(&reader, "mixer_rms_eps", 1e-6));
    inner.affine = false;
  }
  mamba.Compose(reader.IntOr("conv_kernel", 4, 2, 64), inner);
  reader.Expect("hidden_act", "silu");
  IgnoreBookkeeping(&reader);
  // Initial values, the widths again under the names of another library, and
  // how libraries compute.
  reader.Ignore({"time_step_floor", "time_step_max", "time_step_min",
                 "time_step_scale", "time_step_init_scheme",
                 "rescale_prenorm_residual", "residual_in_fp32", "d_inner",
                 "d_model", "n_layer", "ssm_cfg", "rms_norm", "fused_add_norm",
                 "pad_vocab_size_multiple", "use_mambapy", "use_falcon_mambapy",
                 "use_associative_scan"});
  RETURN_IF_ERROR(reader.status());
  config.final_norm = RmsNormConfig(eps);
  BlockConfig block;
  block.sublayers = {{.mixer = "mamba",
                      .config = mamba.config.dump(),
                      .pre_norm = config.final_norm}};
  config.blocks.assign(layers, block);
  MapPairs(
      "", "backbone.",
      {{"embedding", "embeddings.weight"}, {"final_norm", "norm_f.weight"}},
      &model.tensors);
  if (!config.tied_head) {
    MapPairs("", "", {{"head", "lm_head.weight"}}, &model.tensors);
  }
  for (int i = 0; i < layers; ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".0.";
    const std::string theirs = "backbone.layers." + std::to_string(i) + ".";
    MapPairs(ours, theirs, {{"pre_norm", "norm.weight"}}, &model.tensors);
    MapMamba(mamba, ours, theirs + "mixer.", &model.tensors);
  }
  model.unread = reader.Unread();
  return model;
}

Family MambaFamily() {
  return {.name = "mamba",
          .model_types = {"mamba"},
          .gguf_architectures = {},
          .from_config =
              [](const Json& json) { return MambaFromConfig("mamba", json); },
          .from_gguf = nullptr,
          .base = "backbone.",
          .defaults = {{"layer_norm_epsilon", "1e-05"}}};
}

}  // namespace intarsia
