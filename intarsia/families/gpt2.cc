// GPT-2: learned positions, LayerNorm with biases, fused and transposed
// projections ("Conv1D" keeps [in, out]).
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

struct Names {
  const char *embedding, *positions, *final_norm, *layer;
  const char *attention_norm, *qkv, *output, *mlp_norm, *up, *down;
  bool transposed;  // matrices are [in, out]
};
constexpr Names kHuggingFace = {"transformer.wte.weight",
                                "transformer.wpe.weight",
                                "transformer.ln_f",
                                "transformer.h.",
                                "ln_1",
                                "attn.c_attn",
                                "attn.c_proj",
                                "ln_2",
                                "mlp.c_fc",
                                "mlp.c_proj",
                                true};
constexpr Names kGguf = {"token_embd.weight",
                         "position_embd.weight",
                         "output_norm",
                         "blk.",
                         "attn_norm",
                         "attn_qkv",
                         "attn_output",
                         "ffn_norm",
                         "ffn_up",
                         "ffn_down",
                         false};

std::vector<TensorMap> MapTensors(int layers, int dim, const Names& names) {
  const std::string final_norm = names.final_norm;
  std::vector<TensorMap> maps = {
      {.native = "embedding", .foreign = names.embedding},
      {.native = "positions", .foreign = names.positions},
      {.native = "final_norm", .foreign = final_norm + ".weight"},
      {.native = "final_norm_bias", .foreign = final_norm + ".bias"}};
  for (int i = 0; i < layers; ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = names.layer + std::to_string(i) + ".";
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
                      .transpose = names.transposed,
                      .row_begin = begin,
                      .row_end = end});
      maps.push_back({.native = ours + bias,
                      .foreign = theirs + foreign + ".bias",
                      .row_begin = begin,
                      .row_end = end});
    };
    norm("0.pre_norm", names.attention_norm);
    conv1d("0.q_proj", "0.q_bias", names.qkv, 0, dim);
    conv1d("0.k_proj", "0.k_bias", names.qkv, dim, 2 * dim);
    conv1d("0.v_proj", "0.v_bias", names.qkv, 2 * dim, 3 * dim);
    conv1d("0.o_proj", "0.o_bias", names.output, 0, -1);
    norm("1.pre_norm", names.mlp_norm);
    conv1d("1.up", "1.up_bias", names.up, 0, -1);
    conv1d("1.down", "1.down_bias", names.down, 0, -1);
  }
  return maps;
}

struct Dims {
  int layers, dim, heads, hidden, vocab, max_positions;
  double eps;
  std::string activation;
  bool scaled = true;  // scores are divided by the root of a head's width
  bool scaled_by_layer = false;  // and by the layer's number, from 1
};

ModelConfig Compose(const Dims& d) {
  ModelConfig config;
  config.name = "gpt2";
  config.vocab_size = d.vocab;
  config.dim = d.dim;
  config.max_positions = d.max_positions;
  config.learned_positions = true;
  config.tied_head = true;
  const NormConfig norm{.kind = NormConfig::Kind::kLayer,
                        .eps = static_cast<float>(d.eps)};
  config.final_norm = norm;
  Json attention = {{"heads", d.heads},
                    {"kv_heads", d.heads},
                    {"head_dim", d.dim / d.heads},
                    {"rope", false},
                    {"bias", true}};
  const Json mlp = {
      {"hidden", d.hidden}, {"activation", d.activation}, {"bias", true}};
  for (int i = 0; i < d.layers; ++i) {
    if (!d.scaled || d.scaled_by_layer) {
      const double width = d.scaled ? std::sqrt(d.dim / d.heads) : 1.0;
      attention["scale"] = 1 / (width * (d.scaled_by_layer ? i + 1 : 1));
    }
    BlockConfig& block = config.blocks.emplace_back();
    block.sublayers = {{"attention", attention.dump(), norm, 1.0f},
                       {"mlp", mlp.dump(), norm, 1.0f}};
  }
  return config;
}

Result<FamilyModel> FromConfig(const Json& json) {
  JsonReader reader(json, "gpt2");
  Dims d;
  d.layers = reader.Int("n_layer", 1, 4096);
  d.dim = reader.Int("n_embd");
  d.heads = reader.Int("n_head", 1, 65536);
  d.hidden = reader.IntOr("n_inner", 4 * d.dim, 1);
  d.eps = ReadEps(&reader, "layer_norm_epsilon", 1e-5);
  d.activation = reader.StringOr("activation_function", "gelu_new");
  d.vocab = reader.Int("vocab_size");
  d.max_positions = reader.Int("n_positions");
  d.scaled = reader.BoolOr("scale_attn_weights", true);
  d.scaled_by_layer = reader.BoolOr("scale_attn_by_inverse_layer_idx", false);
  reader.Expect("add_cross_attention", false);
  IgnoreBookkeeping(&reader);
  // Dropout is training's choice; upcasting is the default here; n_ctx repeats
  // n_positions; the summary head belongs to another task.
  reader.Ignore({"attn_pdrop", "embd_pdrop", "resid_pdrop", "n_ctx",
                 "reorder_and_upcast_attn", "summary_activation",
                 "summary_first_dropout", "summary_proj_to_labels",
                 "summary_type", "summary_use_proj", "task_specific_params"});

  const int bos = reader.IntOr("bos_token_id", -1, -1);
  const std::vector<int> eos = reader.Ids("eos_token_id");
  const bool tied = reader.BoolOr("tie_word_embeddings", true);
  reader.Require(d.dim % d.heads == 0,
                 "\"n_embd\" must be a multiple of \"n_head\"");
  RETURN_IF_ERROR(reader.status());
  FamilyModel model{.config = Compose(d),
                    .tensors = MapTensors(d.layers, d.dim, kHuggingFace),
                    .unread = reader.Unread()};
  model.config.bos_id = bos;
  model.config.eos_ids = eos;
  model.config.tied_head = tied;
  if (!tied) {
    model.tensors.push_back({.native = "head", .foreign = "lm_head.weight"});
  }
  return model;
}

Result<FamilyModel> FromGguf(const Json& metadata) {
  JsonReader reader(metadata, "gpt2", {.key_prefix = "gpt2."});
  Dims d;
  d.layers = reader.Int("block_count", 1, 4096);
  d.dim = reader.Int("embedding_length");
  d.heads = reader.Int("attention.head_count", 1, 65536);
  d.hidden = reader.Int("feed_forward_length");
  d.eps = RequiredEps(&reader, "attention.layer_norm_epsilon");
  d.activation = "gelu_new";
  d.vocab = reader.IntOr("vocab_size", 0, 1, 1 << 24);
  d.max_positions = reader.Int("context_length");
  reader.Expect("attention.head_count_kv", d.heads);
  // Positions are learned: nothing turns.
  reader.Ignore({"rope.dimension_count", "rope.freq_base"});
  reader.Require(
      d.dim % d.heads == 0,
      "\"embedding_length\" must be a multiple of \"attention.head_count\"");
  RETURN_IF_ERROR(reader.status());
  FamilyModel model{.config = Compose(d),
                    .tensors = MapTensors(d.layers, d.dim, kGguf),
                    .unread = reader.Unread()};
  ReadGgufIds(metadata, &model.config);
  // Some files repeat the table; without one LoadModel ties them.
  model.config.tied_head = false;
  model.tensors.push_back({.native = "head", .foreign = "output.weight"});
  return model;
}

}  // namespace

Family Gpt2Family() {
  return {.name = "gpt2",
          .model_types = {"gpt2"},
          .gguf_architectures = {"gpt2"},
          .from_config = FromConfig,
          .from_gguf = FromGguf,
          .base = "transformer.",
          .aliases = {{"hidden_size", "n_embd"},
                      {"max_position_embeddings", "n_positions"},
                      {"num_attention_heads", "n_head"},
                      {"num_hidden_layers", "n_layer"}},
          .defaults = {{"layer_norm_epsilon", "1e-05"}}};
}

}  // namespace intarsia
