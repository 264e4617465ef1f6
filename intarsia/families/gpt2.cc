// GPT-2: learned positions, LayerNorm with biases, fused and transposed
// projections ("Conv1D" keeps [in, out]).
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/families/rows.h"
#include "intarsia/families/transformer.h"

namespace intarsia {
namespace {

constexpr FieldRow kFields[] = {
    {"layers", "n_layer", "block_count"},
    {"max_positions", "n_positions", "context_length"},
    {"dim", "n_embd", "embedding_length"},
    {.ours = "hidden",
     .hf = "n_inner",
     .gguf = "feed_forward_length",
     .native = "1.hidden"},
    {"heads", "n_head", "attention.head_count"},
    {"eps", "layer_norm_epsilon", "attention.layer_norm_epsilon"},
    {"vocab", "vocab_size"},
    {"activation", "activation_function"},
    {"scaled", "scale_attn_weights"},
    {"scaled_by_layer", "scale_attn_by_inverse_layer_idx"},
    {"tied", "tie_word_embeddings"}};

// Hugging Face's matrices are [in, out]; queries, keys and values are one.
const TensorNames& Tensors() {
  static const auto* const table = [] {
    auto* t = new TensorNames{
        .hf_block = "transformer.h.",
        .rows = {
            {"embedding", "transformer.wte.weight", "token_embd.weight"},
            {"positions", "transformer.wpe.weight", "position_embd.weight"},
            {"head", "lm_head.weight", "output.weight"}}};
    t->AddPair("final_norm", "final_norm_bias", "transformer.ln_f",
               "output_norm");
    t->AddPair("0.pre_norm", "0.pre_norm_bias", "ln_1", "attn_norm");
    for (const std::string part : {"q", "k", "v"}) {
      t->AddPair("0." + part + "_proj", "0." + part + "_bias", "attn.c_attn",
                 "attn_qkv", true);
    }
    t->AddPair("0.o_proj", "0.o_bias", "attn.c_proj", "attn_output", true);
    t->AddPair("1.pre_norm", "1.pre_norm_bias", "ln_2", "ffn_norm");
    t->AddPair("1.up", "1.up_bias", "mlp.c_fc", "ffn_up", true);
    t->AddPair("1.down", "1.down_bias", "mlp.c_proj", "ffn_down", true);
    return t;
  }();
  return *table;
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

// What both kinds of file have.
Dims ReadDims(FieldReader* reader) {
  Dims d;
  d.layers = reader->Int("layers", 1, 4096);
  d.dim = reader->Int("dim");
  d.heads = reader->Int("heads", 1, 65536);
  d.hidden = reader->IntOr("hidden", 4 * d.dim, 1);
  d.eps = reader->Eps("eps", 1e-5);
  d.activation = reader->StringOr("activation", "gelu_new");
  d.vocab = reader->IntOr("vocab", 0, 1, 1 << 24);
  d.max_positions = reader->Int("max_positions");
  d.scaled = reader->BoolOr("scaled", true);
  d.scaled_by_layer = reader->BoolOr("scaled_by_layer", false);
  reader->json().Require(d.dim % d.heads == 0,
                         "\"" + reader->NameOf("dim") +
                             "\" must be a multiple of \"" +
                             reader->NameOf("heads") + "\"");
  return d;
}

Result<FamilyModel> FromConfig(const Json& json) {
  FieldReader fields(json, "gpt2", kFields, FileKind::kHuggingFace);
  JsonReader& reader = fields.json();
  const Dims d = ReadDims(&fields);
  (void)fields.Int("vocab");  // must be there
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
  const bool tied = fields.BoolOr("tied", true);
  RETURN_IF_ERROR(reader.status());
  FamilyModel model{.config = Compose(d), .tensors = {}};
  model.config.bos_id = bos;
  model.config.eos_ids = eos;
  model.config.tied_head = tied;
  model.tensors = MapRows(Tensors(), FileKind::kHuggingFace, model.config);
  model.unread = reader.Unread();
  return model;
}

Result<FamilyModel> FromGguf(const Json& metadata) {
  FieldReader fields(metadata, "gpt2", kFields, FileKind::kGguf, "gpt2.");
  JsonReader& reader = fields.json();
  Dims d = ReadDims(&fields);
  (void)fields.Int("hidden");  // must be there
  d.vocab = reader.IntOr("vocab_size", 0, 1, 1 << 24);
  reader.Expect("attention.head_count_kv", d.heads);
  // Positions are learned: nothing turns.
  reader.Ignore({"rope.dimension_count", "rope.freq_base"});
  RETURN_IF_ERROR(reader.status());
  FamilyModel model{.config = Compose(d), .tensors = {}};
  ReadGgufIds(metadata, &model.config);
  // Some files repeat the table; without one LoadModel ties them.
  model.config.tied_head = false;
  model.tensors = MapRows(Tensors(), FileKind::kGguf, model.config);
  model.unread = reader.Unread();
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
          .defaults = {{"layer_norm_epsilon", "1e-05"}},
          .gguf = {.class_name = "GPT2LMHeadModel",
                   .rows = kFields,
                   .fixed = {{"activation_function",
                              R"(["gelu_new", "gelu_pytorch_tanh",
                                  "gelu_fast"])"},
                             {"scale_attn_weights", "[true]"},
                             {"scale_attn_by_inverse_layer_idx", "[false]"}},
                   .reads_biases = true}};
}

}  // namespace intarsia
