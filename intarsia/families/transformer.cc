#include "intarsia/families/transformer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "intarsia/families/rope_fields.h"

namespace intarsia {
namespace {

constexpr int64_t kMaxExperts = 1 << 16;

// What both kinds of file say, before it becomes a ModelConfig.
struct Dims {
  int layers = 0, dim = 0, heads = 0, head_dim = 0;
  int vocab = 0, max_positions = 0, experts = 0, experts_per_token = 0;
  double eps = 1e-6;
  std::string activation = "silu";
  bool attention_bias = false, output_bias = false, mlp_bias = false;
  bool tied = false;
  double scale = 0, softcap = 0, logit_softcap = 0;  // Gemma 2; 0: none
  // By layer.
  std::vector<int> kv_heads, hidden;
  std::vector<Json> ropes;
  std::vector<int> windows;  // 0: none
};

using Norms = TransformerTraits::Norms;

SublayerConfig Sublayer(const TransformerTraits& traits, const char* mixer,
                        const Json& config, double eps) {
  constexpr NormConfig kNone = {.kind = NormConfig::Kind::kNone};
  NormConfig norm = RmsNormConfig(eps);
  norm.unit_offset = traits.gemma2;
  return {.mixer = mixer,
          .config = config.dump(),
          .pre_norm = traits.norms == Norms::kAfter ? kNone : norm,
          .residual_scale = 1.0f,
          .post_norm = traits.norms == Norms::kBefore ? kNone : norm};
}

ModelConfig Compose(const TransformerTraits& traits, const Dims& s) {
  ModelConfig model;
  model.name = traits.family;
  model.vocab_size = s.vocab;
  model.dim = s.dim;
  model.max_positions = s.max_positions;
  model.final_norm = RmsNormConfig(s.eps);
  model.tied_head = s.tied;
  if (traits.gemma2) {
    model.final_norm.unit_offset = true;
    model.embedding_scale = std::sqrt(static_cast<float>(s.dim));
    model.logit_softcap = static_cast<float>(s.logit_softcap);
  }
  for (int i = 0; i < s.layers; ++i) {
    const bool qkv = s.attention_bias || traits.qkv_bias;
    Json attention = {
        {"heads", s.heads},
        {"kv_heads", s.kv_heads[i]},
        {"head_dim", s.head_dim},
        {"rope", s.ropes[i]},
        {"bias", {{"q", qkv}, {"k", qkv}, {"v", qkv}, {"o", s.output_bias}}}};
    if (traits.qk_norm) {
      attention["qk_norm"] = {{"type", "rms"}, {"eps", s.eps}};
      if (traits.qk_norm_all) attention["qk_norm_over"] = "all";
    }
    if (s.scale > 0) attention["scale"] = s.scale;
    if (s.softcap > 0) attention["softcap"] = s.softcap;
    if (s.windows[i] > 0) attention["window"] = s.windows[i];
    BlockConfig block;
    block.sublayers.push_back(Sublayer(traits, "attention", attention, s.eps));
    if (s.experts > 0) {
      block.sublayers.push_back(Sublayer(traits, "moe",
                                         {{"experts", s.experts},
                                          {"top_k", s.experts_per_token},
                                          {"hidden", s.hidden[i]},
                                          {"activation", s.activation}},
                                         s.eps));
    } else {
      block.sublayers.push_back(Sublayer(traits, "glu",
                                         {{"hidden", s.hidden[i]},
                                          {"activation", s.activation},
                                          {"bias", s.mlp_bias}},
                                         s.eps));
    }
    model.blocks.push_back(std::move(block));
  }
  return model;
}

struct Names {
  const char *layer, *attention_norm, *mlp_norm;
  // With norms after the mixers: those, and what then stands before the MLP.
  const char *post_attention_norm, *post_mlp_norm, *both_mlp_norm;
  const char *q, *k, *v, *o, *q_norm, *k_norm;
  const char *gate, *up, *down;
  const char *embedding, *final_norm, *head;
};

constexpr Names kHuggingFace = {"model.layers.",
                                "input_layernorm",
                                "post_attention_layernorm",
                                "post_attention_layernorm",
                                "post_feedforward_layernorm",
                                "pre_feedforward_layernorm",
                                "self_attn.q_proj",
                                "self_attn.k_proj",
                                "self_attn.v_proj",
                                "self_attn.o_proj",
                                "self_attn.q_norm",
                                "self_attn.k_norm",
                                "mlp.gate_proj",
                                "mlp.up_proj",
                                "mlp.down_proj",
                                "model.embed_tokens.weight",
                                "model.norm.weight",
                                "lm_head.weight"};
constexpr Names kGguf = {"blk.",
                         "attn_norm",
                         "ffn_norm",
                         "post_attention_norm",
                         "post_ffw_norm",
                         "ffn_norm",
                         "attn_q",
                         "attn_k",
                         "attn_v",
                         "attn_output",
                         "attn_q_norm",
                         "attn_k_norm",
                         "ffn_gate",
                         "ffn_up",
                         "ffn_down",
                         "token_embd.weight",
                         "output_norm.weight",
                         "output.weight"};

// How a file has experts. `block`: the name of what holds them.
struct Experts {
  enum Kind { kEach, kFused, kStacked } kind;
  const char* block = "";
};

// Mixtral's experts: published as one tensor each, ours is a stack.
void MapExperts(const Dims& s, const std::string& ours, const std::string& moe,
                std::vector<TensorMap>* maps) {
  maps->push_back(
      {.native = ours + "1.router", .foreign = moe + "gate.weight"});
  for (int e = 0; e < s.experts; ++e) {
    const std::string expert = moe + "experts." + std::to_string(e);
    for (const auto& [native, foreign] :
         {std::pair("gate", ".w1.weight"), std::pair("up", ".w3.weight"),
          std::pair("down", ".w2.weight")}) {
      maps->push_back({.native = ours + "1." + native,
                       .foreign = expert + foreign,
                       .stack = e});
    }
  }
}

// The same as transformers 5 holds them: stacks, gate and up fused.
void MapFusedExperts(int hidden, const std::string& ours,
                     const std::string& mlp, std::vector<TensorMap>* maps) {
  maps->push_back(
      {.native = ours + "1.router", .foreign = mlp + "gate.weight"});
  for (const auto& [native, begin] :
       {std::pair("gate", 0), std::pair("up", hidden)}) {
    maps->push_back({.native = ours + "1." + native,
                     .foreign = mlp + "experts.gate_up_proj",
                     .row_begin = begin,
                     .row_end = begin + hidden,
                     .row_axis = 1});
  }
  maps->push_back(
      {.native = ours + "1.down", .foreign = mlp + "experts.down_proj"});
}

// GGUF's stacks, one a matrix, as ours are.
void MapStackedExperts(const std::string& ours, const std::string& theirs,
                       std::vector<TensorMap>* maps) {
  for (const auto& [native, foreign] :
       {std::pair("router", "ffn_gate_inp"), std::pair("gate", "ffn_gate_exps"),
        std::pair("up", "ffn_up_exps"), std::pair("down", "ffn_down_exps")}) {
    maps->push_back({.native = ours + "1." + native,
                     .foreign = theirs + foreign + ".weight"});
  }
}

std::vector<TensorMap> MapTensors(const TransformerTraits& traits,
                                  const Dims& s, const Names& names,
                                  Experts experts = {Experts::kEach}) {
  std::vector<TensorMap> maps = {
      {.native = "embedding", .foreign = names.embedding},
      {.native = "final_norm", .foreign = names.final_norm}};
  if (!s.tied) maps.push_back({.native = "head", .foreign = names.head});
  for (int i = 0; i < s.layers; ++i) {
    const std::string ours = "blocks." + std::to_string(i) + ".";
    const std::string theirs = names.layer + std::to_string(i) + ".";
    auto map = [&](const std::string& native, const std::string& foreign) {
      maps.push_back({.native = ours + native, .foreign = theirs + foreign});
    };
    auto linear = [&](const std::string& native, const std::string& foreign,
                      const std::string& bias) {
      map(native, foreign + ".weight");
      if (!bias.empty()) map(bias, foreign + ".bias");
    };
    const bool qkv = s.attention_bias || traits.qkv_bias;
    auto norm = [&](const char* native, const char* foreign) {
      map(native, std::string(foreign) + ".weight");
    };
    if (traits.norms != Norms::kAfter) {
      norm("0.pre_norm", names.attention_norm);
      norm("1.pre_norm",
           traits.norms == Norms::kBoth ? names.both_mlp_norm : names.mlp_norm);
    }
    if (traits.norms != Norms::kBefore) {
      norm("0.post_norm", names.post_attention_norm);
      norm("1.post_norm", names.post_mlp_norm);
    }
    linear("0.q_proj", names.q, qkv ? "0.q_bias" : "");
    linear("0.k_proj", names.k, qkv ? "0.k_bias" : "");
    linear("0.v_proj", names.v, qkv ? "0.v_bias" : "");
    linear("0.o_proj", names.o, s.output_bias ? "0.o_bias" : "");
    if (traits.qk_norm) {
      norm("0.q_norm", names.q_norm);
      norm("0.k_norm", names.k_norm);
    }
    if (s.experts > 0 && experts.kind == Experts::kFused) {
      MapFusedExperts(s.hidden[i], ours, theirs + experts.block, &maps);
    } else if (s.experts > 0 && experts.kind == Experts::kStacked) {
      MapStackedExperts(ours, theirs, &maps);
    } else if (s.experts > 0) {
      MapExperts(s, ours, theirs + experts.block, &maps);
    } else {
      linear("1.gate", names.gate, s.mlp_bias ? "1.gate_bias" : "");
      linear("1.up", names.up, s.mlp_bias ? "1.up_bias" : "");
      linear("1.down", names.down, s.mlp_bias ? "1.down_bias" : "");
    }
  }
  return maps;
}

// Which layers see a window only. Mistral and Mixtral: all of them, where
// "sliding_window" is a number; Mistral's "layer_types" makes a Ministral of
// it. Qwen: those that "layer_types" names, else those from "max_window_layers"
// on, and none without "use_sliding_window".
void ReadWindows(const TransformerTraits& traits, JsonReader* reader, Dims* s) {
  s->windows.assign(s->layers, 0);
  if (traits.window == TransformerTraits::Window::kNone) return;
  int window = 0, first = 0;
  const Json* types = nullptr;
  const bool chosen = traits.window == TransformerTraits::Window::kChosen;
  if (chosen && !reader->BoolOr("use_sliding_window", false)) {
    reader->Ignore({"sliding_window"});  // whatever it says
  } else {
    window = reader->IntOr("sliding_window", 0, 1);
  }
  if (chosen) {
    first = std::max(0, reader->IntOr("max_window_layers", 28, -(1 << 30)));
  }
  if (traits.window != TransformerTraits::Window::kAll) {
    types = reader->Find("layer_types");
  }
  if (types == nullptr) {
    const bool others = traits.window == TransformerTraits::Window::kAlternate;
    for (int i = first; i < s->layers; ++i) {
      if (!others || i % 2 == 0) s->windows[i] = window;
    }
    return;
  }
  const bool each =
      types->is_array() && static_cast<int>(types->size()) == s->layers;
  reader->Require(each, "\"layer_types\" must name each of the layers");
  for (int i = 0; each && i < s->layers; ++i) {
    const Json& type = (*types)[i];
    const bool slides = type == "sliding_attention";
    if (slides) s->windows[i] = window;
    reader->Require(!slides || window > 0,
                    "\"layer_types\" names a sliding window, but "
                    "\"sliding_window\" or \"use_sliding_window\" gives none");
    // "attention" is what older files say.
    reader->Require(slides || type == "full_attention" || type == "attention",
                    "a layer type is neither \"sliding_attention\" nor "
                    "\"full_attention\"",
                    StatusCode::kUnsupported);
  }
}

void ReadGemma2(JsonReader* reader, Dims* s) {
  // Older files repeat the activation's name.
  reader->Ignore({"hidden_act", "cache_implementation"});
  s->activation = reader->StringOr("hidden_activation", "gelu_pytorch_tanh");
  const double width = reader->NumberOr("query_pre_attn_scalar", 256);
  reader->RequireField(width > 0, "query_pre_attn_scalar", "positive");
  s->scale = 1.0 / std::sqrt(width);
  for (auto [name, cap] :
       {std::pair("attn_logit_softcapping", &s->softcap),
        std::pair("final_logit_softcapping", &s->logit_softcap)}) {
    *cap = reader->NumberOr(name, 0);
    reader->RequireField(*cap >= 0, name, "positive");
  }
}

void ReadRopes(const TransformerTraits& traits, JsonReader* reader, Dims* s,
               std::vector<std::string>* warnings) {
  const RopeDefaults defaults = {
      .family = traits.family,
      .theta = traits.default_theta,
      .head_dim = s->head_dim,
      .max_positions =
          s->max_positions > 0 ? s->max_positions : traits.default_positions};
  const bool typed = traits.window == TransformerTraits::Window::kChosen ||
                     traits.window == TransformerTraits::Window::kTypes;
  std::map<std::string, Json> ropes;
  for (int i = 0; i < s->layers; ++i) {
    const std::string type = !typed              ? ""
                             : s->windows[i] > 0 ? "sliding_attention"
                                                 : "full_attention";
    if (!ropes.contains(type)) {
      ropes[type] = RopeFromConfig(reader, defaults, type, warnings);
    }
    s->ropes.push_back(ropes[type]);
  }
}

}  // namespace

NormConfig RmsNormConfig(double eps) {
  return {.kind = NormConfig::Kind::kRms, .eps = static_cast<float>(eps)};
}

double ReadEps(JsonReader* reader, const std::string& name, double fallback) {
  const double eps = reader->NumberOr(name, fallback);
  // As a float: what is just below 1 rounds to it.
  reader->RequireField(eps >= 0 && static_cast<float>(eps) < 1, name,
                       "in [0, 1)");
  return eps;
}

double RequiredEps(JsonReader* reader, const std::string& name) {
  reader->RequireField(reader->Find(name) != nullptr, name, "a number");
  return ReadEps(reader, name, 0);
}

void IgnoreBookkeeping(JsonReader* reader) {
  reader->Ignore(
      {"architectures", "model_type", "torch_dtype", "dtype",
       "transformers_version", "use_cache", "initializer_range", "bos_token_id",
       "eos_token_id", "pad_token_id", "attention_dropout", "pretraining_tp",
       "output_router_logits", "router_aux_loss_coef", "router_jitter_noise",
       "_name_or_path", "is_llama_config", "transformers.js_config"});
  // What the class keeps of loading and of other tasks. Translate refuses
  // quantisers that are not read.
  reader->Ignore({"name_or_path",
                  "_commit_hash",
                  "auto_map",
                  "attn_implementation",
                  "_attn_implementation",
                  "_attn_implementation_autoset",
                  "experts_implementation",
                  "output_hidden_states",
                  "output_attentions",
                  "return_dict",
                  "chunk_size_feed_forward",
                  "tie_last_hidden_states",
                  "id2label",
                  "label2id",
                  "num_labels",
                  "problem_type",
                  "finetuning_task",
                  "task_specific_params",
                  "tokenizer_class",
                  "prefix",
                  "sep_token_id",
                  "decoder_start_token_id",
                  "unsloth_fixed",
                  "unsloth_version",
                  "quantization_config",
                  "quantization",
                  "compression_config"});
  // Of generation, which older files keep here.
  reader->Ignore({"max_length",
                  "max_new_tokens",
                  "min_length",
                  "do_sample",
                  "early_stopping",
                  "num_beams",
                  "num_beam_groups",
                  "diversity_penalty",
                  "temperature",
                  "top_k",
                  "top_p",
                  "typical_p",
                  "repetition_penalty",
                  "length_penalty",
                  "no_repeat_ngram_size",
                  "encoder_no_repeat_ngram_size",
                  "bad_words_ids",
                  "num_return_sequences",
                  "output_scores",
                  "return_dict_in_generate",
                  "forced_bos_token_id",
                  "forced_eos_token_id",
                  "remove_invalid_values",
                  "exponential_decay_length_penalty",
                  "suppress_tokens",
                  "begin_suppress_tokens"});
}

Result<FamilyModel> TransformerFromConfig(const TransformerTraits& traits,
                                          const Json& config) {
  // Where published files have experts, and where transformers 5 holds them.
  constexpr const char *kSparse = "block_sparse_moe.", *kMlp = "mlp.";
  JsonReader reader(config, traits.family);
  Dims s;
  s.layers = reader.Int("num_hidden_layers", 1, 4096);
  s.dim = reader.Int("hidden_size");
  s.heads = reader.Int("num_attention_heads", 1, 65536);
  s.kv_heads.assign(s.layers,
                    reader.IntOr("num_key_value_heads", s.heads, 1, 65536));
  s.head_dim = reader.IntOr("head_dim", s.dim / s.heads, 1, 65536);
  s.hidden.assign(s.layers, reader.Int("intermediate_size"));
  s.vocab = reader.Int("vocab_size");
  s.max_positions = reader.IntOr("max_position_embeddings", 0);
  s.eps = ReadEps(&reader, "rms_norm_eps", 1e-6);
  if (traits.gemma2) {
    ReadGemma2(&reader, &s);
  } else {
    s.activation = reader.StringOr("hidden_act", "silu");
  }
  if (traits.declares_attention_bias) {
    s.attention_bias = reader.BoolOr("attention_bias", false);
    s.output_bias = s.attention_bias;
  }
  if (traits.declares_mlp_bias) s.mlp_bias = reader.BoolOr("mlp_bias", false);
  s.tied = reader.BoolOr("tie_word_embeddings", false);
  ReadWindows(traits, &reader, &s);
  std::vector<std::string> warnings;
  ReadRopes(traits, &reader, &s, &warnings);
  if (traits.experts) {
    s.experts = reader.Int("num_local_experts", 1, 65536);
    s.experts_per_token = reader.Int("num_experts_per_tok", 1, s.experts);
    // A small file must not ask for a map of 2^28 tensors.
    reader.Require(
        int64_t{s.layers} * s.experts <= kMaxExperts,
        "more than " + std::to_string(kMaxExperts) + " experts in all layers");
  }
  const int bos = reader.IntOr("bos_token_id", -1, -1);
  const std::vector<int> eos = reader.Ids("eos_token_id");
  IgnoreBookkeeping(&reader);
  RETURN_IF_ERROR(reader.status());
  FamilyModel model{
      .config = Compose(traits, s),
      .tensors = MapTensors(traits, s, kHuggingFace, {Experts::kEach, kSparse}),
      .warnings = std::move(warnings),
      .unread = reader.Unread()};
  if (traits.experts) {
    for (const Experts& experts :
         {Experts{Experts::kFused, kMlp}, Experts{Experts::kEach, kMlp},
          Experts{Experts::kFused, kSparse}}) {
      model.other_layouts.push_back(
          MapTensors(traits, s, kHuggingFace, experts));
    }
  }
  model.config.bos_id = bos;
  model.config.eos_ids = eos;
  return model;
}

void ReadGgufIds(const Json& metadata, ModelConfig* config) {
  const Json name = metadata.value("general.name", Json());
  if (name.is_string()) config->name = name.get<std::string>();
  auto id = [&](const char* key) {
    const Json value = metadata.value(key, Json());
    if (!value.is_number_integer()) return -1;
    const auto id = value.get<int64_t>();
    return id >= 0 && id <= std::numeric_limits<int>::max()
               ? static_cast<int>(id)
               : -1;
  };
  config->bos_id = id("tokenizer.ggml.bos_token_id");
  const int eos = id("tokenizer.ggml.eos_token_id");
  // The list counts while it names the end that GGUF's own key names.
  std::vector<int> all;
  const Json list = metadata.value("tokenizer.ggml.eos_token_ids", Json());
  for (const Json& item : list.is_array() ? list : Json::array()) {
    const auto given = item.is_number_integer() ? item.get<int64_t>() : -1;
    if (given < 0 || given > std::numeric_limits<int>::max()) continue;
    all.push_back(static_cast<int>(given));
  }
  if (eos >= 0 && std::ranges::find(all, eos) == all.end()) all = {eos};
  for (const char* key :
       {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const int more = id(key);
    if (more >= 0 && std::ranges::find(all, more) == all.end()) {
      all.push_back(more);
    }
  }
  config->eos_ids = std::move(all);
}

namespace {

// A number for all layers, or a list with one for each.
std::vector<int> ReadByLayer(JsonReader* reader, const std::string& name,
                             int layers, int high) {
  const Json* field = reader->Find(name);
  if (field == nullptr || !field->is_array()) {
    return std::vector<int>(layers, reader->Int(name, 1, high));
  }
  const bool right =
      static_cast<int>(field->size()) == layers &&
      std::ranges::all_of(*field, [&](const Json& value) {
        return value.is_number_integer() && value >= 1 && value <= high;
      });
  reader->RequireField(right, name,
                       "a whole number from 1, or one for each of " +
                           std::to_string(layers) + " layers");
  return right ? field->get<std::vector<int>>() : std::vector<int>(layers, 1);
}

}  // namespace

Result<FamilyModel> TransformerFromGguf(const TransformerTraits& traits,
                                        const std::string& architecture,
                                        const Json& metadata) {
  JsonReader reader(metadata, traits.family,
                    {.key_prefix = architecture + "."});
  Dims s;
  s.layers = reader.Int("block_count", 1, 4096);
  s.dim = reader.Int("embedding_length");
  const std::vector<int> heads =
      ReadByLayer(&reader, "attention.head_count", s.layers, 65536);
  s.heads = heads[0];
  reader.RequireField(std::ranges::count(heads, s.heads) == s.layers,
                      "attention.head_count", "one number for all layers");
  s.kv_heads = heads;
  if (reader.Find("attention.head_count_kv") != nullptr) {
    s.kv_heads =
        ReadByLayer(&reader, "attention.head_count_kv", s.layers, 65536);
  }
  s.head_dim = reader.IntOr("attention.key_length", s.dim / s.heads, 1, 65536);
  reader.Expect("attention.value_length", s.head_dim);
  s.hidden = ReadByLayer(&reader, "feed_forward_length", s.layers, 1 << 24);
  s.max_positions = reader.IntOr("context_length", 0);
  s.eps = RequiredEps(&reader, "attention.layer_norm_rms_epsilon");
  if (traits.gguf_experts) {
    s.experts = reader.IntOr("expert_count", 0, 0, 65536);
    if (s.experts > 0) {
      s.experts_per_token = reader.Int("expert_used_count", 1, s.experts);
    }
  } else {
    reader.Expect("expert_count", 0);
  }
  std::vector<std::string> warnings;
  s.ropes.assign(s.layers,
                 RopeFromGguf(&reader, s.head_dim, traits.interleaved_gguf,
                              s.max_positions, &warnings));
  s.windows.assign(s.layers, reader.IntOr("attention.sliding_window", 0));
  s.vocab = reader.IntOr("vocab_size", 0, 1, 1 << 24);
  RETURN_IF_ERROR(reader.status());
  FamilyModel model{
      .config = Compose(traits, s),
      .tensors = MapTensors(traits, s, kGguf, {Experts::kStacked}),
      .warnings = std::move(warnings),
      .unread = reader.Unread()};
  ReadGgufIds(metadata, &model.config);
  return model;
}

}  // namespace intarsia
