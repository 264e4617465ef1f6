// GPT-2: learned positions, LayerNorm with biases, fused and transposed
// projections ("Conv1D" keeps [in, out]).
#include <nlohmann/json.hpp>

#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

std::vector<TensorMap> MapTensors(int layers, int dim) {
  std::vector<TensorMap> maps = {
      {.native = "embedding", .foreign = "transformer.wte.weight"},
      {.native = "positions", .foreign = "transformer.wpe.weight"},
      {.native = "final_norm", .foreign = "transformer.ln_f.weight"},
      {.native = "final_norm_bias", .foreign = "transformer.ln_f.bias"}};
  for (int i = 0; i < layers; ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = "transformer.h." + std::to_string(i) + ".";
    auto norm = [&](const std::string& native, const std::string& foreign) {
      maps.push_back(
          {.native = ours + native, .foreign = theirs + foreign + ".weight"});
      maps.push_back({.native = ours + native + "_bias",
                      .foreign = theirs + foreign + ".bias"});
    };
    auto conv1d = [&](const std::string& native, const std::string& bias,
                      const std::string& foreign, int64_t begin, int64_t end) {
      maps.push_back({.native = ours + native,
                      .foreign = theirs + foreign + ".weight",
                      .transpose = true,
                      .row_begin = begin,
                      .row_end = end});
      maps.push_back({.native = ours + bias,
                      .foreign = theirs + foreign + ".bias",
                      .row_begin = begin,
                      .row_end = end});
    };
    norm("0.pre_norm", "ln_1");
    conv1d("0.q_proj", "0.q_bias", "attn.c_attn", 0, dim);
    conv1d("0.k_proj", "0.k_bias", "attn.c_attn", dim, 2 * dim);
    conv1d("0.v_proj", "0.v_bias", "attn.c_attn", 2 * dim, 3 * dim);
    conv1d("0.o_proj", "0.o_bias", "attn.c_proj", 0, -1);
    norm("1.pre_norm", "ln_2");
    conv1d("1.up", "1.up_bias", "mlp.c_fc", 0, -1);
    conv1d("1.down", "1.down_bias", "mlp.c_proj", 0, -1);
  }
  return maps;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "gpt2");
  const int layers = reader.Int("n_layer", 1, 4096);
  const int dim = reader.Int("n_embd");
  const int heads = reader.Int("n_head", 1, 65536);
  const int hidden = reader.IntOr("n_inner", 4 * dim, 1);
  const double eps = reader.NumberOr("layer_norm_epsilon", 1e-5);
  const std::string activation =
      reader.StringOr("activation_function", "gelu_new");
  reader.Expect("scale_attn_weights", true);
  reader.Expect("scale_attn_by_inverse_layer_idx", false);
  reader.Expect("add_cross_attention", false);
  IgnoreBookkeeping(&reader);
  // Dropout is training's choice; upcasting is the default here; n_ctx repeats
  // n_positions; the summary head belongs to another task.
  reader.Ignore({"attn_pdrop", "embd_pdrop", "resid_pdrop", "n_ctx",
                 "reorder_and_upcast_attn", "summary_activation",
                 "summary_first_dropout", "summary_proj_to_labels",
                 "summary_type", "summary_use_proj", "task_specific_params"});

  FamilyModel model;
  ModelConfig& config = model.config;
  config.name = "gpt2";
  config.vocab_size = reader.Int("vocab_size");
  config.dim = dim;
  config.max_positions = reader.Int("n_positions");
  config.learned_positions = true;
  config.tied_head = true;
  config.bos_id = reader.IntOr("bos_token_id", -1, -1);
  config.eos_ids = reader.Ids("eos_token_id");
  reader.Expect("tie_word_embeddings", true);
  reader.Require(dim % heads == 0,
                 "\"n_embd\" must be a multiple of \"n_head\"");
  RETURN_IF_ERROR(reader.status());
  const NormConfig norm{.kind = NormConfig::Kind::kLayer,
                        .eps = static_cast<float>(eps)};
  config.final_norm = norm;
  const Json attention = {{"heads", heads},
                          {"kv_heads", heads},
                          {"head_dim", dim / heads},
                          {"rope", false},
                          {"bias", true}};
  const Json mlp = {
      {"hidden", hidden}, {"activation", activation}, {"bias", true}};
  BlockConfig block;
  block.sublayers = {{"attention", attention.dump(), norm, 1.0f},
                     {"mlp", mlp.dump(), norm, 1.0f}};
  config.blocks.assign(layers, block);
  model.tensors = MapTensors(layers, dim);
  model.warnings = reader.Unread();
  return model;
}

}  // namespace

Family Gpt2Family() {
  return {.name = "gpt2",
          .model_types = {"gpt2"},
          .gguf_architectures = {},
          .from_config = FromConfig,
          .from_gguf = nullptr};
}

}  // namespace intarsia
