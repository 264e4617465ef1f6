#include "intarsia/families/translate.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/core/in_file.h"
#include "intarsia/families/foreign_fields.h"
#include "intarsia/families/fp8_blocks.h"
#include "intarsia/families/generation_config.h"
#include "intarsia/families/names.h"
#include "intarsia/families/quantisers.h"
#include "intarsia/families/rope_fields.h"
#include "intarsia/families/unused.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;
using Layout = std::vector<TensorMap>;

std::string TextOr(const Json& config, const char* key) {
  const Json value = config.is_object() ? config.value(key, Json()) : Json();
  return value.is_string() ? value.get<std::string>() : "";
}

bool SameTensor(const StoredTensor& a, const StoredTensor& b) {
  return a.encoding == b.encoding && a.shape == b.shape &&
         a.bytes.nbytes() == b.bytes.nbytes() &&
         std::memcmp(a.bytes.raw(), b.bytes.raw(), a.bytes.nbytes()) == 0;
}

// Weights that may have a bias, by the room that they are of.
struct MaybeBiased {
  const char *mixer, *weight, *bias, *field;
};
constexpr MaybeBiased kMaybeBiased[] = {
    {"attention", "q_proj", "q_bias", "q"},
    {"attention", "k_proj", "k_bias", "k"},
    {"attention", "v_proj", "v_bias", "v"},
    {"attention", "o_proj", "o_bias", "o"},
    {"glu", "gate", "gate_bias", ""},
    {"glu", "up", "up_bias", ""},
    {"glu", "down", "down_bias", ""},
};

class Translator {
 public:
  Translator(const Checkpoint& file, const Family& family)
      : file_(file),
        gguf_(file.kind() == CheckpointKind::kGguf),
        family_(family),
        names_(file, gguf_ ? "" : family.base) {}

  Result<Translation> Run(const Json& config) {
    out_.family = family_.name;
    out_.config = config;
    ASSIGN_OR_RETURN(FamilyModel model, gguf_ ? family_.from_gguf(config)
                                              : family_.from_config(config));
    if (gguf_) RETURN_IF_ERROR(AddGgufRopeTensors(file_, &model));
    config_ = std::move(model.config);
    if (model.tensors.empty()) {  // no model can have the configuration
      ModelConfig shaped = config_;
      if (shaped.vocab_size == 0) shaped.vocab_size = 1;
      const auto created = Model::Create(std::move(shaped));
      if (!created.ok()) return NameForeignFields(created.status(), config);
    }
    out_.layouts = std::move(model.other_layouts);
    out_.layouts.insert(out_.layouts.begin(), std::move(model.tensors));
    out_.warnings = std::move(model.warnings);
    if (gguf_) {
      RETURN_IF_ERROR(FitGgufHead());
    } else {
      FitHead();
    }
    RETURN_IF_ERROR(TakeBiases());
    RETURN_IF_ERROR(ReadGenerationConfig(file_.generation_config_path(),
                                         &config_, &out_.warnings));
    if (gguf_) {
      RETURN_IF_ERROR(ReadStopTexts(*file_.gguf(), file_.path(), &config_));
    }
    auto created = Model::Create(std::move(config_));
    if (!created.ok()) return NameForeignFields(created.status(), config);
    out_.model = std::move(created).value();
    NameTensors();
    FindUnused(model.unread);
    return std::move(out_);
  }

 private:
  // GGUF leaves out what its tensors tell: the vocabulary and a tied head.
  Status FitGgufHead() {
    const StoredTensor* table = names_.Find("token_embd.weight");
    if (table != nullptr && table->shape.rank() == 2 &&
        table->shape[0] <= (1 << 24)) {
      if (table->shape[0] == 0) {
        return InvalidArgument("[load] token_embd.weight has no rows");
      }
      config_.vocab_size = static_cast<int>(table->shape[0]);
    }
    if (names_.Find("output.weight") != nullptr) return Status::Ok();
    config_.tied_head = true;
    for (Layout& layout : out_.layouts) {
      std::erase_if(layout,
                    [](const TensorMap& map) { return map.native == "head"; });
    }
    return Status::Ok();
  }

  // What the file has of the table and the head decides whether they are tied.
  void FitHead() {
    const StoredTensor* head = names_.Find(family_.head);
    if (!config_.tied_head || head == nullptr) return;
    const auto embedding =
        std::ranges::find(out_.layouts[0], "embedding", &TensorMap::native);
    CHECK(embedding != out_.layouts[0].end());
    const StoredTensor* table = names_.Find(embedding->foreign);
    if (table == nullptr) {
      table_ = head->name;
      return;
    }
    if (SameTensor(*head, *table)) return;
    config_.tied_head = false;
    for (Layout& layout : out_.layouts) {
      layout.push_back({.native = "head", .foreign = family_.head});
    }
    out_.config["tie_word_embeddings"] = false;
    out_.warnings.push_back("\"tie_word_embeddings\" is true, but " +
                            Printable(head->name) + " is not the table " +
                            Printable(table->name) + ": it counts as the head");
  }

  // Biases that the file has and the configuration does not speak of.
  Status TakeBiases() {
    std::vector<std::string> taken;
    for (size_t i = 0; i < out_.layouts.size(); ++i) {
      Layout& layout = out_.layouts[i];
      std::unordered_map<std::string, TensorMap> by_native;
      for (const TensorMap& map : layout) by_native.emplace(map.native, map);
      for (size_t b = 0; b < config_.blocks.size(); ++b) {
        std::vector<SublayerConfig>& sublayers = config_.blocks[b].sublayers;
        for (size_t s = 0; s < sublayers.size(); ++s) {
          const std::string path =
              "blocks." + std::to_string(b) + "." + std::to_string(s) + ".";
          const auto found = FindBiases(by_native, path, sublayers[s].mixer);
          if (found.empty()) continue;
          RETURN_IF_ERROR(AddBiases(found, &sublayers[s]));
          for (const auto& [maybe, map] : found) {
            layout.push_back(map);
            if (i == 0) taken.push_back(map.foreign);
          }
        }
      }
    }
    if (!taken.empty() && !gguf_) {
      out_.warnings.push_back(
          std::to_string(taken.size()) +
          " biases that config.json does not speak of count, as " +
          Printable(names_.In(taken[0])));
    }
    return Status::Ok();
  }

  using Biases = std::vector<std::pair<const MaybeBiased*, TensorMap>>;

  Biases FindBiases(const std::unordered_map<std::string, TensorMap>& by_native,
                    const std::string& path, const std::string& mixer) const {
    Biases found;
    constexpr std::string_view kWeight = "weight";
    for (const MaybeBiased& maybe : kMaybeBiased) {
      if (mixer != maybe.mixer) continue;
      const auto weight = by_native.find(path + maybe.weight);
      if (weight == by_native.end() || weight->second.stack >= 0 ||
          !weight->second.foreign.ends_with(kWeight) ||
          by_native.contains(path + maybe.bias)) {
        continue;
      }
      TensorMap map = weight->second;
      map.native = path + maybe.bias;
      map.foreign.replace(map.foreign.size() - kWeight.size(), kWeight.size(),
                          "bias");
      map.transpose = false;
      if (names_.Find(map.foreign) != nullptr) found.push_back({&maybe, map});
    }
    // A gated unit has all three or none.
    if (mixer == "glu" && found.size() < 3) found.clear();
    return found;
  }

  static Status AddBiases(const Biases& found, SublayerConfig* sublayer) {
    Json config = Json::parse(sublayer->config);
    if (sublayer->mixer == "glu") {
      config["bias"] = true;
    } else {
      Json& bias = config["bias"];
      if (!bias.is_object()) {
        const bool all = bias.is_boolean() && bias.get<bool>();
        bias = {{"q", all}, {"k", all}, {"v", all}, {"o", all}};
      }
      for (const auto& [maybe, map] : found) bias[maybe->field] = true;
    }
    sublayer->config = config.dump();
    return Status::Ok();
  }

  // Of the layouts the one of which the file has most, by the file's names.
  void NameTensors() {
    const Layout* best = nullptr;
    size_t most = 0;
    for (const Layout& layout : out_.layouts) {
      size_t found = 0;
      for (const TensorMap& map : layout) {
        found += FindOf(map) != nullptr ? 1 : 0;
      }
      const bool whole = found == layout.size();
      if (best != nullptr && !whole && found <= most) continue;
      best = &layout;
      most = found;
      if (whole) break;
    }
    // Names of the first layout, as far as its tensors are cut the same way.
    std::map<std::tuple<std::string, int64_t, int64_t, int64_t>, std::string>
        first;
    for (const TensorMap& map : out_.layouts[0]) {
      first[{map.native, map.stack, map.row_begin, map.row_end}] = map.foreign;
    }
    const auto same = [&](const TensorMap& map) {
      return first.find({map.native, map.stack, map.row_begin, map.row_end});
    };
    // Two ways of cutting have no names in common.
    out_.cut_as_published = std::ranges::all_of(
        *best, [&](const TensorMap& map) { return same(map) != first.end(); });
    for (TensorMap map : *best) {
      const StoredTensor* found = FindOf(map);
      const std::string& name =
          out_.cut_as_published ? same(map)->second : map.foreign;
      if (found != nullptr && found->name != name) {
        out_.published.emplace(found->name, name);
      }
      map.foreign = found != nullptr ? found->name : names_.In(map.foreign);
      out_.tensors.push_back(std::move(map));
    }
  }

  void FindUnused(const std::vector<std::string>& fields) {
    std::set<std::string> used;
    TensorNamespace space{
        .family = family_.name, .blocks = out_.model->blocks(), .own = {}};
    const auto own = [&](const std::string& name) {
      const std::string bare = names_.Bare(name);
      space.own.insert(bare.substr(0, bare.find('.')));
    };
    for (const TensorMap& map : out_.tensors) used.insert(map.foreign);
    for (const Layout& layout : out_.layouts) {
      for (const TensorMap& map : layout) own(map.foreign);
    }
    own(gguf_ ? "output.weight" : family_.head);
    // A tied head that repeats the table.
    const StoredTensor* head = names_.Find(family_.head);
    if (head != nullptr && out_.model->config().tied_head) {
      used.insert(head->name);
    }
    std::map<std::string, std::string> unused;
    for (const std::string& name : file_.names()) {
      const bool rope = gguf_ && IsGgufRopeTensor(name);  // in the model's rope
      if (rope || used.contains(name) || IsFp8Scale(file_, name)) continue;
      unused.emplace(name, names_.Bare(name));
    }
    Unused sorted;
    SortTensors(unused, space, &sorted);
    std::vector<DeclaredField> declared = family_.declared;
    const auto& common = gguf_ ? CommonGgufFields() : CommonFields();
    declared.insert(declared.end(), common.begin(), common.end());
    const std::string prefix =
        gguf_ ? TextOr(file_.config(), "general.architecture") + "." : "";
    SortFields(fields, out_.config, prefix, declared, &sorted);
    out_.unused_tensors = std::move(sorted.tensors);
    out_.unused_fields = std::move(sorted.fields);
    for (std::string& line : sorted.warnings) {
      out_.warnings.push_back(std::move(line));
    }
  }

  const StoredTensor* FindOf(const TensorMap& map) const {
    if (map.native == "embedding" && !table_.empty()) {
      return file_.Find(table_);
    }
    return names_.Find(map.foreign);
  }

  const Checkpoint& file_;
  const bool gguf_;
  const Family& family_;
  const FileNames names_;
  std::string table_;  // of the file, where it is not the published one
  ModelConfig config_;
  Translation out_;
};

Result<Translation> TranslateNative(const Checkpoint& file) {
  Translation out;
  out.family = "intarsia";
  out.config = file.config();
  ASSIGN_OR_RETURN(ModelConfig config, ParseModelConfig(file.config()));
  RETURN_IF_ERROR(ReadGenerationConfig(file.generation_config_path(), &config,
                                       &out.warnings));
  ASSIGN_OR_RETURN(out.model, Model::Create(std::move(config)));
  for (const std::string& path : out.model->paths()) {
    out.tensors.push_back({.native = path, .foreign = path});
  }
  out.layouts = {out.tensors};
  for (const std::string& name : file.names()) {
    if (out.model->Find(name) == nullptr) out.unused_tensors.push_back(name);
  }
  return out;
}

// The configuration of the language model among several parts, where its type
// is one that we know.
std::optional<Json> LanguageModelOf(const Json& config) {
  for (const char* key : {"text_config", "language_config", "llm_config"}) {
    const auto part = config.find(key);
    if (part == config.end() ||
        FindFamily(TextOr(*part, "model_type")) == nullptr) {
      continue;
    }
    Json text = *part;
    for (const char* shared :
         {"tie_word_embeddings", "bos_token_id", "eos_token_id"}) {
      if (config.contains(shared) &&
          (shared[0] == 't' || !text.contains(shared))) {
        text[shared] = config[shared];
      }
    }
    return text;
  }
  return std::nullopt;
}

// Fields by the names that the family reads, with those that a file left out.
Json CompleteConfig(const Family& family, Json config) {
  for (const auto& [alias, name] : family.aliases) {
    const auto found = config.find(alias);
    if (found == config.end()) continue;
    if (!found->is_null()) config[name] = *found;
    config.erase(alias);
  }
  for (const auto& [field, value] : family.defaults) {
    const std::string_view text = field;
    const size_t mark = text.find('?');
    const std::string name(text.substr(0, mark));
    const bool wanted =
        mark == std::string_view::npos ||
        config.value(std::string(text.substr(mark + 1)), Json()) == true;
    if (wanted && !config.contains(name)) config[name] = Json::parse(value);
  }
  return config;
}

// Where the configuration stands.
std::string ConfigPath(const Checkpoint& checkpoint) {
  switch (checkpoint.kind()) {
    case CheckpointKind::kNativeFolder:
      return checkpoint.path() + "/intarsia.json";
    case CheckpointKind::kHfFolder:
      return checkpoint.path() + "/config.json";
    default:
      return checkpoint.path();
  }
}

std::string NotKnown(const std::string& key, const std::string& type) {
  return "\"" + key + "\" is \"" + Printable(type) +
         "\", a family that is not known; `intarsia list` shows those that are";
}

Result<Translation> TranslateFile(const Checkpoint& checkpoint) {
  if (checkpoint.kind() == CheckpointKind::kNativeFolder) {
    return TranslateNative(checkpoint);
  }
  Json config = checkpoint.config();
  const bool gguf = checkpoint.kind() == CheckpointKind::kGguf;
  const char* key = gguf ? "general.architecture" : "model_type";
  const std::string type = TextOr(config, key);
  if (type.empty()) {
    return InvalidArgument("[load] no \"" + std::string(key) +
                           "\" says which family this model is of");
  }
  const Family* found = gguf ? FindGgufFamily(type) : FindFamily(type);
  std::string part;
  if (found == nullptr && !gguf) {
    if (std::optional<Json> text = LanguageModelOf(config)) {
      part = "the language model of \"" + Printable(type) +
             "\" is read, its other parts are not";
      config = std::move(*text);
      found = FindFamily(TextOr(config, "model_type"));
    }
  }
  const Status quantisers =
      gguf ? Status::Ok() : RefuseOtherQuantisers(checkpoint);
  if (found == nullptr || (gguf && found->from_gguf == nullptr)) {
    return Unsupported("[load] " + NotKnown(key, type) +
                       (quantisers.ok() ? "" : "; " + quantisers.message()));
  }
  if (!gguf) {
    RETURN_IF_ERROR(quantisers);
    RETURN_IF_ERROR(RefuseOtherQuantisers(config, ConfigPath(checkpoint)));
    config = CompleteConfig(*found, std::move(config));
  }
  ASSIGN_OR_RETURN(Translation out, Translator(checkpoint, *found).Run(config));
  if (!part.empty()) out.warnings.insert(out.warnings.begin(), part);
  const std::set<std::string>& twice = checkpoint.repeated_keys();
  if (!twice.empty()) {
    out.warnings.push_back(
        "config.json gives more than once, and the last counts: " +
        Listed({twice.begin(), twice.end()}));
  }
  return out;
}

}  // namespace

Result<Translation> Translate(const Checkpoint& checkpoint) {
  Result<Translation> out = TranslateFile(checkpoint);
  // A message that names a file of the model's has its own.
  if (!out.ok() &&
      out.status().message().find(checkpoint.path()) != std::string::npos) {
    return out;
  }
  return InFile(std::move(out), ConfigPath(checkpoint));
}

Result<ModelConfig> ConfigOfFile(const std::string& path) {
  const auto read = [&]() -> Result<ModelConfig> {
    ASSIGN_OR_RETURN(Json config, ReadJsonFile(path, "load", size_t{16} << 20));
    const std::string type = TextOr(config, "model_type");
    if (type.empty()) return ParseModelConfig(config);
    const Family* family = FindFamily(type);
    if (family == nullptr) {
      return Unsupported("[load] " + NotKnown("model_type", type));
    }
    ASSIGN_OR_RETURN(FamilyModel model, family->from_config(CompleteConfig(
                                            *family, std::move(config))));
    return std::move(model.config);
  };
  return InFile(read(), path);
}

Status CheckConfig(const Json& config, const std::string& where) {
  const std::string type = TextOr(config, "model_type");
  const std::optional<Json> text =
      config.is_object() ? LanguageModelOf(config) : std::nullopt;
  if (!type.empty() && FindFamily(type) == nullptr && !text) {
    return Unsupported("[load] " + where + ": " + NotKnown("model_type", type));
  }
  RETURN_IF_ERROR(RefuseOtherQuantisers(config, where));
  return text ? RefuseOtherQuantisers(*text, where) : Status::Ok();
}

bool KnowsFamily(const Checkpoint& checkpoint) {
  if (checkpoint.kind() == CheckpointKind::kNativeFolder) return true;
  const Json& config = checkpoint.config();
  if (checkpoint.kind() != CheckpointKind::kGguf) {
    return FindFamily(TextOr(config, "model_type")) != nullptr ||
           (config.is_object() && LanguageModelOf(config).has_value());
  }
  const Family* found = FindGgufFamily(TextOr(config, "general.architecture"));
  return found != nullptr && found->from_gguf != nullptr;
}

Status CheckUnused(const Checkpoint& checkpoint, bool allow,
                   Translation* translated) {
  const std::vector<std::string>& tensors = translated->unused_tensors;
  const std::vector<std::string>& fields = translated->unused_fields;
  std::string said;
  if (!fields.empty()) {
    said = "fields of the configuration that change what is computed (" +
           std::to_string(fields.size()) + ") are not used: " + Listed(fields);
  }
  if (!tensors.empty()) {
    const StoredTensor* first = checkpoint.Find(tensors[0]);
    said += (said.empty() ? "" : "; ") + std::to_string(tensors.size()) +
            " tensors of the model are not used: " + Listed(tensors);
    const std::string& path = first->file->path();
    if (path != checkpoint.path()) {
      said += " (the first is in " + path.substr(path.rfind('/') + 1) + ")";
    }
  }
  if (said.empty()) return Status::Ok();
  if (allow) {
    translated->warnings.push_back(said);
    return Status::Ok();
  }
  return Unsupported("[load] " + checkpoint.path() + ": " + said +
                     "; what is computed without them is not this model. "
                     "--allow-unused goes on with a warning");
}

}  // namespace intarsia
