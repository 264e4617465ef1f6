#include "intarsia/convert/layouts.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/convert/rope_layout.h"
#include "intarsia/families/family.h"

namespace intarsia {
namespace {

// Null: the family is not known, or has no way to GGUF.
const Family* WrittenFamily(const Json& config) {
  const Family* family = FindFamily(TextOr(config, "model_type"));
  return family != nullptr && *family->gguf.class_name != '\0' ? family
                                                               : nullptr;
}

std::string Named(const std::set<std::string>& names) {
  std::string text;
  for (auto name = names.begin(); name != names.end(); ++name) {
    text += name == names.begin()            ? ""
            : std::next(name) == names.end() ? " and "
                                             : ", ";
    text += *name;
  }
  return text;
}

// The family, of those that GGUF files under this architecture, whose sign the
// file has.
const Family* FamilyOfGguf(const Json& fields,
                           const std::string& architecture) {
  const Family* found = nullptr;
  for (const Family& family : Families()) {
    if (*family.gguf.class_name == '\0' ||
        std::ranges::count(family.gguf_architectures, architecture) == 0) {
      continue;
    }
    const std::string sign = architecture + "." + family.gguf.sign;
    if (*family.gguf.sign == '\0' || FieldOr(fields, sign, int64_t{0}) > 0) {
      found = &family;
    }
  }
  return found;
}

// What llama.cpp wants in f32 although it is no vector.
bool IsWide(const std::string& gguf) {
  return gguf == "position_embd.weight" ||
         gguf.ends_with(".ffn_gate_inp.weight");
}

// What GGUF's files of this architecture have no place for.
Status CheckKept(const Json& config, const Family& family) {
  for (const auto& [name, values] : family.gguf.fixed) {
    const Json value = config.value(name, Json());
    const Json kept = Json::parse(values);
    if (value.is_null() || std::ranges::find(kept, value) != kept.end()) {
      continue;
    }
    return Unsupported("[convert] GGUF's " + family.gguf_architectures[0] +
                       " models have no place for " + name + " " +
                       Printable(value.dump(), 40));
  }
  return Status::Ok();
}

// A number of a model's first block: "1.hidden" is the second sublayer's.
Json OfFirstBlock(const ModelConfig& model, const std::string& path) {
  const size_t sublayer = path[0] - '0';
  if (model.blocks.empty() || model.blocks[0].sublayers.size() <= sublayer) {
    return Json();
  }
  return Json::parse(model.blocks[0].sublayers[sublayer].config)
      .value(path.substr(2), Json());
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
  const Family* family = WrittenFamily(config);
  if (family == nullptr) {
    std::set<std::string> written;
    for (const Family& known : Families()) {
      if (*known.gguf.class_name != '\0') written.insert(known.name);
    }
    return Unsupported("[convert] models of type \"" +
                       TextOr(config, "model_type") +
                       "\" are not written as GGUF; " + Named(written) +
                       " are. A native folder holds every family");
  }
  RETURN_IF_ERROR(CheckKept(config, *family));
  ASSIGN_OR_RETURN(const FamilyModel layout, HfLayout(config));
  const std::string& architecture = family->gguf_architectures[0];
  const std::string prefix = architecture + ".";
  Json fields = {{"general.architecture", architecture}};
  for (const FieldRow& row : family->gguf.rows) {
    if (row.hf == nullptr || row.gguf == nullptr) continue;
    Json value = config.value(row.hf, Json());
    if (value.is_null() && row.native != nullptr) {
      value = OfFirstBlock(layout.config, row.native);
    }
    if (value.is_number()) fields[prefix + row.gguf] = value;
  }
  fields[prefix + "vocab_size"] = FieldOr(config, "vocab_size", int64_t{0});
  ASSIGN_OR_RETURN(const int64_t window, WindowOf(layout.config));
  if (window > 0) fields[prefix + "attention.sliding_window"] = window;
  const int64_t head_dim = FieldOr(config, "head_dim", int64_t{0});
  if (head_dim > 0) fields[prefix + "attention.value_length"] = head_dim;
  ASSIGN_OR_RETURN(const GgufRope rope, RopeToGguf(layout.config));
  for (const auto& field : rope.fields.items()) {
    fields[prefix + field.key()] = field.value();
  }
  return fields;
}

namespace {

// The number that a row's key has for all layers; null where it is missing.
Result<Json> NumberOf(const Json& fields, const std::string& prefix,
                      const FieldRow& row) {
  Json value = fields.value(prefix + row.gguf, Json());
  if (value.is_null() && row.otherwise != nullptr) {
    value = fields.value(prefix + row.otherwise, Json());
  }
  if (!value.is_array() || value.empty()) return value;
  for (const Json& other : value) {
    if (other == value[0]) continue;
    return Unsupported("[convert] \"" + prefix + row.gguf +
                       "\" differs among layers; config.json has one \"" +
                       row.hf + "\" for all");
  }
  return Json(value[0]);
}

}  // namespace

Result<Json> ConfigOfGguf(const Json& fields) {
  const std::string architecture = TextOr(fields, "general.architecture");
  const std::string prefix = architecture + ".";
  const Family* family = FamilyOfGguf(fields, architecture);
  if (family == nullptr) {
    std::set<std::string> read;
    for (const Family& known : Families()) {
      if (*known.gguf.class_name == '\0') continue;
      read.insert(known.gguf_architectures[0]);
    }
    return Unsupported("[convert] GGUF models of architecture \"" +
                       architecture + "\" are not converted; " + Named(read) +
                       " are");
  }
  const GgufForm& form = family->gguf;
  const bool experts = FieldOr(fields, prefix + "expert_count", int64_t{0}) > 0;
  if (experts && std::string_view(form.sign) != "expert_count") {
    return Unsupported("[convert] experts of GGUF's " + architecture +
                       " are not converted");
  }
  Json config = {{"model_type", family->model_types[0]},
                 {"architectures", {form.class_name}}};
  for (const auto& [name, values] : form.fixed) {
    const Json first = Json::parse(values)[0];
    if (first.is_string()) config[name] = first;
  }
  for (const FieldRow& row : form.rows) {
    if (row.hf == nullptr || row.gguf == nullptr) continue;
    ASSIGN_OR_RETURN(const Json value, NumberOf(fields, prefix, row));
    if (value.is_number()) config[row.hf] = value;
  }
  const int64_t window =
      FieldOr(fields, prefix + "attention.sliding_window", int64_t{0});
  if (window > 0) {
    config["sliding_window"] = window;
    for (const auto& [name, value] : form.with_window) {
      config[name] = Json::parse(value);
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
         a.row_axis == b.row_axis && a.groups == b.groups;
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
  const Family* family = FamilyOfGguf(fields, architecture);
  if (family != nullptr && family->gguf.reads_biases) return unread;
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
