#include "intarsia/convert/layouts.h"

#include <cstring>
#include <map>

#include "intarsia/families/family.h"

namespace intarsia {
namespace {

struct Field {
  const char* hf;
  const char* gguf;
  bool real = false;
};

constexpr Field kFields[] = {
    {"num_hidden_layers", "block_count"},
    {"max_position_embeddings", "context_length"},
    {"hidden_size", "embedding_length"},
    {"intermediate_size", "feed_forward_length"},
    {"num_attention_heads", "attention.head_count"},
    {"num_key_value_heads", "attention.head_count_kv"},
    {"head_dim", "attention.key_length"},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", true},
    {"rope_theta", "rope.freq_base", true},
};

std::string Architecture(const Json& config) {
  const std::string type = config.value("model_type", "");
  if (type == "mistral") return "llama";
  return type == "llama" || type == "qwen2" || type == "qwen3" ? type : "";
}

const char* ClassOf(const std::string& architecture) {
  return architecture == "qwen2"   ? "Qwen2ForCausalLM"
         : architecture == "qwen3" ? "Qwen3ForCausalLM"
                                   : "LlamaForCausalLM";
}

// What GGUF's files of these architectures have no place for.
Status CheckKept(const Json& config, const std::string& architecture) {
  auto lost = [&](const std::string& what) {
    return Unsupported("[convert] GGUF's " + architecture +
                       " models have no place for " + what);
  };
  if (architecture == "llama" && config.value("attention_bias", false)) {
    return lost("attention_bias");
  }
  if (config.value("mlp_bias", false)) return lost("mlp_bias");
  if (config.value("hidden_act", "silu") != "silu") return lost("hidden_act");
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json scaling = config.value(key, Json());
    if (!scaling.is_object()) continue;
    const std::string type =
        scaling.value("rope_type", scaling.value("type", "default"));
    if (type != "default" && type != "linear") {
      return lost("rope scaling of type " + type);
    }
  }
  const bool window = config.value("use_sliding_window", false) ||
                      config.value("model_type", "") == "mistral";
  if (window && config.value("sliding_window", Json()).is_number()) {
    return lost("sliding_window");
  }
  return Status::Ok();
}

}  // namespace

Result<Json> GgufFieldsOf(const Json& config) {
  const std::string architecture = Architecture(config);
  if (architecture.empty()) {
    return Unsupported("[convert] models of type \"" +
                       config.value("model_type", "") +
                       "\" are not written as GGUF; llama, mistral, qwen2 and "
                       "qwen3 are. A native folder holds every family");
  }
  RETURN_IF_ERROR(CheckKept(config, architecture));
  const std::string prefix = architecture + ".";
  Json fields = {{"general.architecture", architecture}};
  for (const Field& field : kFields) {
    const Json value = config.value(field.hf, Json());
    if (value.is_number()) fields[prefix + field.gguf] = value;
  }
  const Json rope = config.value("rope_parameters", Json::object());
  if (rope.contains("rope_theta")) {
    fields[prefix + "rope.freq_base"] = rope["rope_theta"];
  }
  Json scaling = config.value("rope_scaling", Json());
  if (!scaling.is_object()) scaling = rope;
  if (scaling.value("rope_type", scaling.value("type", "")) == "linear") {
    fields[prefix + "rope.scaling.type"] = "linear";
    fields[prefix + "rope.scaling.factor"] = scaling.value("factor", 1.0);
  }
  const int64_t heads = config.value("num_attention_heads", int64_t{1});
  const int64_t head_dim =
      config.value("head_dim", config.value("hidden_size", int64_t{0}) / heads);
  fields[prefix + "rope.dimension_count"] = head_dim;
  if (config.contains("head_dim")) {
    fields[prefix + "attention.value_length"] = head_dim;
  }
  fields[prefix + "vocab_size"] = config.value("vocab_size", int64_t{0});
  return fields;
}

Result<Json> ConfigOfGguf(const Json& fields) {
  const std::string architecture = fields.value("general.architecture", "");
  if (Architecture({{"model_type", architecture}}).empty()) {
    return Unsupported("[convert] GGUF models of architecture \"" +
                       architecture +
                       "\" are not converted; llama, qwen2 and qwen3 are");
  }
  const std::string prefix = architecture + ".";
  Json config = {{"model_type", architecture},
                 {"architectures", {ClassOf(architecture)}},
                 {"hidden_act", "silu"},
                 {"num_key_value_heads",
                  fields.value(prefix + "attention.head_count", Json())}};
  for (const Field& field : kFields) {
    const Json value = fields.value(prefix + field.gguf, Json());
    if (value.is_number()) config[field.hf] = value;
  }
  const std::string scaling = fields.value(prefix + "rope.scaling.type", "");
  if (scaling == "linear") {
    config["rope_scaling"] = {
        {"rope_type", "linear"},
        {"factor", fields.value(prefix + "rope.scaling.factor", 1.0)}};
  } else if (!scaling.empty() && scaling != "none") {
    return Unsupported("[convert] rope scaling of type " + scaling +
                       " is not converted");
  }
  if (fields.value(prefix + "expert_count", 0) != 0) {
    return Unsupported("[convert] experts of GGUF's " + architecture +
                       " are not converted");
  }
  for (const auto& [key, name] :
       {std::pair("bos_token_id", "bos"), std::pair("eos_token_id", "eos")}) {
    const Json id = fields.value("tokenizer.ggml." + std::string(key), Json());
    if (id.is_number_integer()) config[key] = id;
  }
  return config;
}

Result<std::vector<NamePair>> JoinNames(const Json& config,
                                        const Json& fields) {
  const Family* hf = FindFamily(config.value("model_type", ""));
  const Family* gguf = FindGgufFamily(fields.value("general.architecture", ""));
  if (hf == nullptr || gguf == nullptr || gguf->from_gguf == nullptr) {
    return Unsupported("[convert] this family has not both layouts");
  }
  ASSIGN_OR_RETURN(const FamilyModel ours, hf->from_config(config));
  ASSIGN_OR_RETURN(const FamilyModel theirs, gguf->from_gguf(fields));
  // Whether GGUF's rows of queries and keys stand in pairs.
  const Json attention =
      Json::parse(theirs.config.blocks.at(0).sublayers.at(0).config);
  const bool paired = attention["rope"].value("interleaved", false);
  const int64_t heads = attention.value("heads", int64_t{0});
  const int64_t kv_heads = attention.value("kv_heads", heads);
  std::map<std::string, std::string> names;
  for (const TensorMap& map : theirs.tensors) names[map.native] = map.foreign;
  std::vector<NamePair> pairs;
  for (const TensorMap& map : ours.tensors) {
    const auto found = names.find(map.native);
    if (found == names.end()) {
      return Unsupported("[convert] " + map.foreign + " has no name in GGUF");
    }
    NamePair pair{map.native, map.foreign, found->second};
    if (paired && map.native.ends_with(".q_proj")) pair.paired_heads = heads;
    if (paired && map.native.ends_with(".k_proj")) {
      pair.paired_heads = kv_heads;
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
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
