#include "intarsia/convert/layouts.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "intarsia/convert/rope_layout.h"
#include "intarsia/families/family.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {
namespace {

struct Field {
  const char* hf;
  const char* gguf;
  bool real = false;
};

constexpr Field kTransformer[] = {
    {"num_hidden_layers", "block_count"},
    {"max_position_embeddings", "context_length"},
    {"hidden_size", "embedding_length"},
    {"intermediate_size", "feed_forward_length"},
    {"num_attention_heads", "attention.head_count"},
    {"num_key_value_heads", "attention.head_count_kv"},
    {"head_dim", "attention.key_length"},
    {"num_local_experts", "expert_count"},
    {"num_experts_per_tok", "expert_used_count"},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", true},
};
constexpr Field kGpt2[] = {
    {"n_layer", "block_count"},
    {"n_positions", "context_length"},
    {"n_embd", "embedding_length"},
    {"n_inner", "feed_forward_length"},
    {"n_head", "attention.head_count"},
    {"layer_norm_epsilon", "attention.layer_norm_epsilon", true},
};

// A model_type of Hugging Face's and the architecture that GGUF files it under.
struct Kind {
  const char* model_type;
  const char* architecture;
  const char* class_name;
  std::span<const Field> fields;
};
constexpr Kind kKinds[] = {
    {"llama", "llama", "LlamaForCausalLM", kTransformer},
    {"mistral", "llama", "MistralForCausalLM", kTransformer},
    {"mixtral", "llama", "MixtralForCausalLM", kTransformer},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", kTransformer},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", kTransformer},
    {"gpt2", "gpt2", "GPT2LMHeadModel", kGpt2},
};

const Kind* KindOf(const Json& config) {
  for (const Kind& kind : kKinds) {
    if (TextOr(config, "model_type") == kind.model_type) return &kind;
  }
  return nullptr;
}

// What llama.cpp wants in f32 although it is no vector.
bool IsWide(const std::string& gguf) {
  return gguf == "position_embd.weight" ||
         gguf.ends_with(".ffn_gate_inp.weight");
}

// What GGUF's files of these architectures have no place for.
Status CheckKept(const Json& config, const std::string& architecture) {
  auto lost = [&](const std::string& what) {
    return Unsupported("[convert] GGUF's " + architecture +
                       " models have no place for " + what);
  };
  if (architecture == "gpt2") {
    const Result<Activation> activation = ParseActivation(
        TextOr(config, "activation_function", "gelu_new"), "convert");
    if (!activation.ok()) return activation.status();
    if (*activation != Activation::kGeluTanh) {
      return lost("activation_function");
    }
    for (const auto& [name, usual] :
         {std::pair("scale_attn_weights", true),
          std::pair("scale_attn_by_inverse_layer_idx", false)}) {
      if (FieldOr(config, name, usual) != usual) return lost(name);
    }
    return Status::Ok();
  }
  const std::string activation = TextOr(config, "hidden_act", "silu");
  if (activation != "silu" && activation != "swish") return lost("hidden_act");
  return Status::Ok();
}

// The window of all attention layers, 0: none. Layers that differ have no place
// in GGUF's files of these architectures.
Result<int64_t> WindowOf(const ModelConfig& model) {
  int64_t window = -1;
  for (const BlockConfig& block : model.blocks) {
    for (const SublayerConfig& sublayer : block.sublayers) {
      if (sublayer.mixer != "attention") continue;
      const int64_t own =
          FieldOr(Json::parse(sublayer.config), "window", int64_t{0});
      if (window >= 0 && own != window) {
        return Unsupported(
            "[convert] GGUF's models of this architecture have no place for a "
            "sliding_window of some layers");
      }
      window = own;
    }
  }
  return std::max<int64_t>(window, 0);
}

}  // namespace

Result<Json> GgufFieldsOf(const Json& config) {
  const Kind* kind = KindOf(config);
  if (kind == nullptr) {
    return Unsupported(
        "[convert] models of type \"" + TextOr(config, "model_type") +
        "\" are not written as GGUF; llama, mistral, mixtral, qwen2, qwen3 and "
        "gpt2 are. A native folder holds every family");
  }
  RETURN_IF_ERROR(CheckKept(config, kind->architecture));
  const std::string prefix = std::string(kind->architecture) + ".";
  Json fields = {{"general.architecture", kind->architecture}};
  for (const Field& field : kind->fields) {
    const Json value = config.value(field.hf, Json());
    if (value.is_number()) fields[prefix + field.gguf] = value;
  }
  fields[prefix + "vocab_size"] = FieldOr(config, "vocab_size", int64_t{0});
  if (kind->fields.data() == kGpt2) {
    if (!fields.contains(prefix + "feed_forward_length")) {
      fields[prefix + "feed_forward_length"] =
          4 * FieldOr(config, "n_embd", int64_t{0});
    }
    return fields;
  }
  ASSIGN_OR_RETURN(const FamilyModel layout, HfLayout(config));
  ASSIGN_OR_RETURN(const int64_t window, WindowOf(layout.config));
  if (window > 0) fields[prefix + "attention.sliding_window"] = window;
  const int64_t heads =
      std::max<int64_t>(1, FieldOr(config, "num_attention_heads", int64_t{1}));
  const int64_t head_dim = FieldOr(
      config, "head_dim", FieldOr(config, "hidden_size", int64_t{0}) / heads);
  if (FieldOr(config, "head_dim", int64_t{0}) > 0) {
    fields[prefix + "attention.value_length"] = head_dim;
  }
  ASSIGN_OR_RETURN(const GgufRope rope, RopeToGguf(layout.config));
  for (const auto& field : rope.fields.items()) {
    fields[prefix + field.key()] = field.value();
  }
  return fields;
}

Result<Json> ConfigOfGguf(const Json& fields) {
  const std::string architecture = TextOr(fields, "general.architecture");
  const std::string prefix = architecture + ".";
  const bool experts = FieldOr(fields, prefix + "expert_count", int64_t{0}) > 0;
  const int64_t window =
      FieldOr(fields, prefix + "attention.sliding_window", int64_t{0});
  const std::string type = architecture != "llama" ? architecture
                           : experts               ? "mixtral"
                           : window > 0            ? "mistral"
                                                   : architecture;
  const Kind* kind = KindOf({{"model_type", type}});
  if (kind == nullptr || kind->architecture != architecture) {
    return Unsupported(
        "[convert] GGUF models of architecture \"" + architecture +
        "\" are not converted; llama, qwen2, qwen3 and gpt2 are");
  }
  if (experts && type != "mixtral") {
    return Unsupported("[convert] experts of GGUF's " + architecture +
                       " are not converted");
  }
  Json config = {{"model_type", type}, {"architectures", {kind->class_name}}};
  if (type == "gpt2") {
    config["activation_function"] = "gelu_new";
  } else {
    config["hidden_act"] = "silu";
    config["num_key_value_heads"] =
        fields.value(prefix + "attention.head_count", Json());
  }
  for (const Field& field : kind->fields) {
    Json value = fields.value(prefix + field.gguf, Json());
    if (value.is_array() && !value.empty()) {
      for (const Json& other : value) {
        if (other == value[0]) continue;
        return Unsupported("[convert] \"" + prefix + field.gguf +
                           "\" differs among layers; config.json has one \"" +
                           field.hf + "\" for all");
      }
      value = Json(value[0]);
    }
    if (value.is_number()) config[field.hf] = value;
  }
  if (window > 0) {
    config["sliding_window"] = window;
    if (architecture != "llama") {
      config["use_sliding_window"] = true;
      config["max_window_layers"] = 0;
    }
  }
  for (const auto& [key, name] :
       {std::pair("bos_token_id", "bos"), std::pair("eos_token_id", "eos")}) {
    const Json id = fields.value("tokenizer.ggml." + std::string(key), Json());
    if (id.is_number_integer()) config[key] = id;
  }
  return config;
}

namespace {

// Heads whose rows GGUF keeps in pairs: of queries and of keys; 0: none.
std::pair<int64_t, int64_t> PairedHeads(const FamilyModel& gguf) {
  const Json attention =
      Json::parse(gguf.config.blocks.at(0).sublayers.at(0).config);
  const Json rope = attention.value("rope", Json());
  if (!rope.is_object() || !rope.value("interleaved", false)) return {0, 0};
  const int64_t heads = attention.value("heads", int64_t{0});
  return {heads, attention.value("kv_heads", heads)};
}

bool SameCut(const TensorMap& a, const TensorMap& b) {
  return a.row_begin == b.row_begin && a.row_end == b.row_end &&
         a.row_axis == b.row_axis;
}

// Biases beside their weights, by our names.
constexpr std::pair<const char*, const char*> kBiases[] = {
    {".q_bias", ".q_proj"}, {".k_bias", ".k_proj"},  {".v_bias", ".v_proj"},
    {".o_bias", ".o_proj"}, {".gate_bias", ".gate"}, {".up_bias", ".up"},
    {".down_bias", ".down"}};

}  // namespace

Result<FamilyModel> HfLayout(const Json& config) {
  const Family* family = FindFamily(TextOr(config, "model_type"));
  if (family == nullptr) {
    return Unsupported("[convert] models of type \"" +
                       TextOr(config, "model_type") + "\" are not known");
  }
  return family->from_config(config);
}

Result<FamilyModel> GgufLayout(const Json& fields) {
  const std::string name = TextOr(fields, "general.architecture");
  const Family* family = FindGgufFamily(name);
  if (family == nullptr || family->from_gguf == nullptr) {
    return Unsupported("[convert] GGUF models of architecture \"" + name +
                       "\" are not converted");
  }
  return family->from_gguf(fields);
}

void FitLayout(const std::vector<TensorMap>& have, const char* head,
               std::vector<TensorMap>* layout) {
  std::map<std::string, TensorMap> ours;
  for (const TensorMap& map : *layout) ours.emplace(map.native, map);
  bool has_head = false;
  for (const TensorMap& map : have) {
    has_head = has_head || map.native == "head";
    if (ours.contains(map.native)) continue;
    if (map.native == "head") {
      layout->push_back({.native = "head", .foreign = head});
      continue;
    }
    for (const auto& [bias, weight] : kBiases) {
      if (!map.native.ends_with(bias)) continue;
      const std::string front =
          map.native.substr(0, map.native.size() - std::strlen(bias));
      const auto found = ours.find(front + weight);
      constexpr std::string_view kWeight = "weight";
      if (found == ours.end() || !found->second.foreign.ends_with(kWeight)) {
        continue;
      }
      TensorMap beside = found->second;
      beside.native = map.native;
      beside.foreign.replace(beside.foreign.size() - kWeight.size(),
                             kWeight.size(), "bias");
      beside.transpose = false;
      layout->push_back(std::move(beside));
    }
  }
  if (has_head) return;
  std::erase_if(*layout,
                [](const TensorMap& map) { return map.native == "head"; });
}

Result<std::vector<NamePair>> JoinNames(const std::vector<TensorMap>& hf,
                                        const FamilyModel& gguf) {
  const auto [query_heads, key_heads] = PairedHeads(gguf);
  std::map<std::string, const TensorMap*> by_native;
  for (const TensorMap& map : gguf.tensors) by_native[map.native] = &map;
  std::map<std::string, int64_t> stack_sizes;
  for (const TensorMap& map : hf) {
    if (map.stack >= 0) ++stack_sizes[map.native];
  }
  std::vector<NamePair> pairs;
  std::map<std::string, std::string> seen;  // tensors of several parts
  for (const TensorMap& map : hf) {
    const auto found = by_native.find(map.native);
    const auto [before, first] = seen.emplace(
        map.foreign, found == by_native.end() ? "" : found->second->foreign);
    if (found == by_native.end() || !SameCut(map, *found->second) ||
        before->second != found->second->foreign || found->second->stack >= 0) {
      return Unsupported("[convert] " + map.foreign + " has no name in GGUF");
    }
    if (!first) continue;
    const TensorMap& other = *found->second;
    NamePair pair{.hf = map.foreign,
                  .gguf = other.foreign,
                  .transposed = map.transpose != other.transpose,
                  .wide = IsWide(other.foreign)};
    if (map.native.ends_with(".q_proj") || map.native.ends_with(".q_bias")) {
      pair.paired_heads = query_heads;
    }
    if (map.native.ends_with(".k_proj") || map.native.ends_with(".k_bias")) {
      pair.paired_heads = key_heads;
    }
    if (map.stack >= 0) {
      pair.stack = map.stack;
      pair.stack_size = stack_sizes[map.native];
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

std::vector<std::string> UnreadByOthers(const Json& fields,
                                        const std::vector<NamePair>& pairs) {
  std::vector<std::string> unread;
  const std::string architecture = TextOr(fields, "general.architecture");
  const int64_t window =
      FieldOr(fields, architecture + ".attention.sliding_window", int64_t{0});
  if (window > 0) {
    unread.push_back("llama.cpp reads no sliding window for " + architecture +
                     ": past " + std::to_string(window) +
                     " tokens it computes otherwise than this program");
  }
  if (architecture == "llama" || architecture == "gpt2") return unread;
  for (const NamePair& pair : pairs) {
    if (!pair.gguf.ends_with("attn_output.bias") &&
        !(pair.gguf.find(".ffn_") != std::string::npos &&
          pair.gguf.ends_with(".bias"))) {
      continue;
    }
    unread.push_back("llama.cpp reads no such tensors for " + architecture +
                     " as " + pair.gguf +
                     ": it computes otherwise than this program");
    break;
  }
  return unread;
}

Tensor TransposeBytes(const Tensor& bytes, int64_t rows, int64_t cols,
                      int64_t width) {
  const Tensor in = bytes.Contiguous();
  CHECK_EQ(static_cast<int64_t>(in.nbytes()), rows * cols * width);
  Tensor out = Tensor::Empty({rows * cols * width}, DType::kU8);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      std::memcpy(out.mutable_raw() + (c * rows + r) * width,
                  in.raw() + (r * cols + c) * width, width);
    }
  }
  return out;
}

Tensor PairRows(const Tensor& bytes, int64_t rows, int64_t heads, bool back) {
  const Tensor in = bytes.Contiguous();
  const int64_t of_head = rows / heads;
  const size_t length = in.nbytes() / rows;
  Tensor out = Tensor::Empty({static_cast<int64_t>(in.nbytes())}, DType::kU8);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r % of_head;
    const int64_t plain = r - at + at / 2 + at % 2 * (of_head / 2);
    const int64_t from = back ? r : plain, to = back ? plain : r;
    std::memcpy(out.mutable_raw() + to * length, in.raw() + from * length,
                length);
  }
  return out;
}

}  // namespace intarsia
