#include "intarsia/families/transformer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "intarsia/families/rope_fields.h"
#include "intarsia/families/rows.h"

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

constexpr FieldRow kFields[] = {
    {"layers", "num_hidden_layers", "block_count"},
    {"max_positions", "max_position_embeddings", "context_length"},
    {"dim", "hidden_size", "embedding_length"},
    {"hidden", "intermediate_size", "feed_forward_length"},
    {"heads", "num_attention_heads", "attention.head_count"},
    {.ours = "kv_heads",
     .hf = "num_key_value_heads",
     .gguf = "attention.head_count_kv",
     .otherwise = "attention.head_count"},
    {"head_dim", "head_dim", "attention.key_length"},
    {"experts", "num_local_experts", "expert_count"},
    {"top_k", "num_experts_per_tok", "expert_used_count"},
    {"eps", "rms_norm_eps", "attention.layer_norm_rms_epsilon"},
    {"activation", "hidden_act"},
    {"attention_bias", "attention_bias"},
    {"mlp_bias", "mlp_bias"},
    {"tied", "tie_word_embeddings"}};

}  // namespace

std::span<const FieldRow> LlamaFields() { return kFields; }

const TensorNames& LlamaNames() {
  static const auto* const table = [] {
    auto* t = new TensorNames{
        .rows = {
            {"embedding", "model.embed_tokens.weight", "token_embd.weight"},
            {"final_norm", "model.norm.weight", "output_norm.weight"},
            {"head", "lm_head.weight", "output.weight"},
            {"0.pre_norm", "input_layernorm.weight", "attn_norm.weight"},
            {"0.q_norm", "self_attn.q_norm.weight", "attn_q_norm.weight"},
            {"0.k_norm", "self_attn.k_norm.weight", "attn_k_norm.weight"},
            {"1.pre_norm", "post_attention_layernorm.weight",
             "ffn_norm.weight"},
            {"0.post_norm", "post_attention_layernorm.weight",
             "post_attention_norm.weight"},
            {"1.post_norm", "post_feedforward_layernorm.weight",
             "post_ffw_norm.weight"}}};
    for (const std::string part : {"q", "k", "v"}) {
      t->AddPair("0." + part + "_proj", "0." + part + "_bias",
                 "self_attn." + part + "_proj", "attn_" + part);
    }
    for (const std::string part :
         {"0.pre_norm", "0.post_norm", "1.pre_norm", "1.post_norm"}) {
      const auto norm = std::ranges::find(t->rows, part, &TensorRow::ours);
      std::string hf = norm->hf;
      hf.replace(hf.size() - 6, 6, "bias");
      t->rows.push_back({part + "_bias", hf});
    }
    t->rows.push_back({"final_norm_bias", "model.norm.bias"});
    t->AddPair("0.o_proj", "0.o_bias", "self_attn.o_proj", "attn_output");
    for (const std::string part : {"gate", "up", "down"}) {
      t->AddPair("1." + part, "1." + part + "_bias", "mlp." + part + "_proj",
                 "ffn_" + part);
    }
    return t;
  }();
  return *table;
}

namespace {

TensorNames NamesOf(const TransformerTraits& traits) {
  TensorNames table = LlamaNames();
  if (traits.norms == Norms::kBoth) {
    table.rows.push_back(
        {"1.pre_norm", "pre_feedforward_layernorm.weight", "ffn_norm.weight"});
  }
  return table;
}

// Mixtral's experts, below `block` of a layer: published as one tensor each,
// stacks in GGUF as in ours.
TensorNames WithExperts(const std::string& block) {
  TensorNames table = LlamaNames();
  const auto add = [&](const char* ours, const std::string& hf,
                       const char* gguf) {
    table.rows.push_back({ours, block + hf + ".weight", gguf});
  };
  add("1.router", "gate", "ffn_gate_inp.weight");
  add("1.gate", "experts.%.w1", "ffn_gate_exps.weight");
  add("1.up", "experts.%.w3", "ffn_up_exps.weight");
  add("1.down", "experts.%.w2", "ffn_down_exps.weight");
  return table;
}

// The same as transformers 5 holds them: stacks, gate and up fused.
TensorNames WithFusedExperts(const std::string& block) {
  TensorNames table = LlamaNames();
  table.rows.push_back({"1.router", block + "gate.weight"});
  for (const char* part : {"1.gate", "1.up"}) {
    table.rows.push_back(
        {.ours = part, .hf = block + "experts.gate_up_proj", .axis = 1});
  }
  table.rows.push_back({"1.down", block + "experts.down_proj"});
  return table;
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

BlockConfig ParallelBlock(const NormConfig& norm, const Json& attention,
                          const Json& mlp) {
  BlockConfig block;
  block.sublayers = {
      {.mixer = "attention", .config = attention.dump(), .pre_norm = norm},
      {.mixer = "mlp",
       .config = mlp.dump(),
       .pre_norm = {.kind = NormConfig::Kind::kNone},
       .input = SublayerInput::kPrevious}};
  return block;
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

namespace {

// What both kinds of file have.
Dims ReadDims(const TransformerTraits& traits, FieldReader* reader) {
  Dims s;
  s.layers = reader->Int("layers", 1, 4096);
  s.dim = reader->Int("dim");
  const std::vector<int> heads = reader->Ints("heads", s.layers, 65536);
  s.heads = heads[0];
  reader->json().RequireField(std::ranges::count(heads, s.heads) == s.layers,
                              reader->NameOf("heads"),
                              "one number for all layers");
  s.kv_heads = reader->IntsOr("kv_heads", s.layers, 65536);
  if (s.kv_heads.empty()) s.kv_heads = heads;
  s.head_dim = reader->IntOr("head_dim", s.dim / s.heads, 1, 65536);
  s.hidden = reader->Ints("hidden", s.layers, 1 << 24);
  s.max_positions = reader->IntOr("max_positions", 0);
  s.eps = reader->Eps("eps", 1e-6);
  s.activation = reader->StringOr("activation", "silu");
  if (traits.declares_attention_bias) {
    s.attention_bias = reader->BoolOr("attention_bias", false);
    s.output_bias = s.attention_bias;
  }
  if (traits.declares_mlp_bias) s.mlp_bias = reader->BoolOr("mlp_bias", false);
  s.tied = reader->BoolOr("tied", false);
  const bool experts =
      reader->kind() == FileKind::kGguf
          ? traits.gguf_experts && reader->IntOr("experts", 0, 0, 65536) > 0
          : traits.experts;
  if (experts) {
    s.experts = reader->Int("experts", 1, 65536);
    s.experts_per_token = reader->Int("top_k", 1, s.experts);
    // A small file must not ask for a map of 2^28 tensors.
    reader->json().Require(
        int64_t{s.layers} * s.experts <= kMaxExperts,
        "more than " + std::to_string(kMaxExperts) + " experts in all layers");
  }
  return s;
}

}  // namespace

Result<FamilyModel> TransformerFromConfig(const TransformerTraits& traits,
                                          const Json& config) {
  // Where published files have experts, and where transformers 5 holds them.
  constexpr const char *kSparse = "block_sparse_moe.", *kMlp = "mlp.";
  constexpr FileKind kKind = FileKind::kHuggingFace;
  FieldReader fields(config, traits.family, kFields, kKind);
  JsonReader& reader = fields.json();
  Dims s = ReadDims(traits, &fields);
  s.vocab = reader.Int("vocab_size");
  if (traits.gemma2) ReadGemma2(&reader, &s);
  ReadWindows(traits, &reader, &s);
  std::vector<std::string> warnings;
  ReadRopes(traits, &reader, &s, &warnings);
  const int bos = reader.IntOr("bos_token_id", -1, -1);
  const std::vector<int> eos = reader.Ids("eos_token_id");
  IgnoreBookkeeping(&reader);
  RETURN_IF_ERROR(reader.status());
  FamilyModel model{.config = Compose(traits, s),
                    .tensors = {},
                    .warnings = std::move(warnings),
                    .unread = reader.Unread()};
  model.tensors =
      MapRows(traits.experts ? WithExperts(kSparse) : NamesOf(traits), kKind,
              model.config);
  if (traits.experts) {
    for (const TensorNames& table : {WithFusedExperts(kMlp), WithExperts(kMlp),
                                     WithFusedExperts(kSparse)}) {
      model.other_layouts.push_back(MapRows(table, kKind, model.config));
    }
  }
  model.config.bos_id = bos;
  model.config.eos_ids = eos;
  return model;
}

GgufForm TransformerGguf(const char* class_name) {
  return {.class_name = class_name,
          .rows = kFields,
          .fixed = {{"hidden_act", R"(["silu", "swish"])"}}};
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

Result<FamilyModel> TransformerFromGguf(const TransformerTraits& traits,
                                        const std::string& architecture,
                                        const Json& metadata) {
  FieldReader fields(metadata, traits.family, kFields, FileKind::kGguf,
                     architecture + ".");
  JsonReader& reader = fields.json();
  Dims s = ReadDims(traits, &fields);
  s.vocab = reader.IntOr("vocab_size", 0, 1, 1 << 24);
  reader.Expect("attention.value_length", s.head_dim);
  if (!traits.gguf_experts) reader.Expect("expert_count", 0);
  std::vector<std::string> warnings;
  s.ropes.assign(s.layers,
                 RopeFromGguf(&reader, s.head_dim, traits.interleaved_gguf,
                              s.max_positions, &warnings));
  s.windows.assign(s.layers, reader.IntOr("attention.sliding_window", 0));
  RETURN_IF_ERROR(reader.status());
  FamilyModel model{.config = Compose(traits, s),
                    .tensors = {},
                    .warnings = std::move(warnings),
                    .unread = reader.Unread()};
  model.tensors = MapRows(s.experts > 0 ? WithExperts("") : NamesOf(traits),
                          FileKind::kGguf, model.config);
  ReadGgufIds(metadata, &model.config);
  return model;
}

}  // namespace intarsia
