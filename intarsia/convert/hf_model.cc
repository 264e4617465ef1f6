#include "intarsia/convert/hf_model.h"

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/convert/json_faults.h"
#include "intarsia/convert/layouts.h"
#include "intarsia/convert/rope_layout.h"
#include "intarsia/families/fp8_blocks.h"
#include "intarsia/families/gguf_tokenizer.h"
#include "intarsia/families/rope_fields.h"
#include "intarsia/families/translate.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

LazyTensor Lazy(const StoredTensor& stored, std::string name) {
  return {.name = std::move(name),
          .encoding = stored.encoding,
          .shape = stored.shape,
          .values = [&stored]() -> Result<Tensor> { return stored.bytes; }};
}

// f32 in GGUF what the source kept in 16 bits, where no bit is lost.
LazyTensor Narrowed(LazyTensor tensor, const std::string& dtype) {
  const bool wanted = dtype == "bfloat16" || dtype == "float16";
  if (!wanted || tensor.encoding != "f32") return tensor;
  const Result<Tensor> bytes = tensor.values();
  if (!bytes.ok()) return tensor;
  const Format& format = *FindFormat(dtype == "bfloat16" ? "bf16" : "f16");
  const int64_t n = tensor.shape.numel();
  std::vector<float> exact(n), back(n);
  PlainFormat(DType::kF32).DequantizeRow(bytes->raw(), exact.data(), n);
  Tensor narrow = Tensor::Empty({n}, format.storage());
  format.QuantizeRow(exact.data(), narrow.mutable_raw(), n);
  format.DequantizeRow(narrow.raw(), back.data(), n);
  if (exact != back) return tensor;
  tensor.encoding = format.name();
  tensor.values = [narrow]() -> Result<Tensor> { return narrow; };
  return tensor;
}

// Element `pair.stack` of a stack, its bytes as they are.
Result<LazyTensor> Element(const StoredTensor& stored, const NamePair& pair,
                           const std::string& where) {
  if (stored.shape.rank() != 3 || stored.shape[0] != pair.stack_size) {
    return InvalidArgument(where + "tensor " + pair.gguf + " is no stack of " +
                           std::to_string(pair.stack_size) + " matrices");
  }
  LazyTensor tensor = Lazy(stored, pair.hf);
  tensor.shape = Shape{stored.shape[1], stored.shape[2]};
  tensor.values = [&stored, e = pair.stack,
                   n = pair.stack_size]() -> Result<Tensor> {
    const int64_t size = stored.bytes.numel() / n;
    return stored.bytes.Slice(0, e * size, (e + 1) * size);
  };
  return tensor;
}

// [cols, rows] from [rows, cols]; blocks become f32 first.
Result<LazyTensor> Turned(const StoredTensor& stored, const NamePair& pair,
                          const std::string& where) {
  const Format* format = FindFormat(stored.encoding);
  if (format == nullptr || stored.shape.rank() != 2) {
    return InvalidArgument(where + "tensor " + pair.gguf + " is no matrix");
  }
  const int64_t rows = stored.shape[0], cols = stored.shape[1];
  LazyTensor tensor = Lazy(stored, pair.hf);
  tensor.shape = Shape{cols, rows};
  const bool blocks = format->block() > 1;
  if (blocks) tensor.encoding = "f32";
  tensor.values = [&stored, format, rows, cols, blocks]() -> Result<Tensor> {
    Tensor plain = stored.bytes;
    if (blocks) {
      plain = Tensor::Empty({rows, cols});
      const size_t bytes = format->row_bytes(cols);
      for (int64_t r = 0; r < rows; ++r) {
        format->DequantizeRow(stored.bytes.raw() + r * bytes,
                              plain.mutable_data<float>() + r * cols, cols);
      }
    }
    return TransposeBytes(plain, rows, cols,
                          static_cast<int64_t>(plain.nbytes()) / (rows * cols));
  };
  return tensor;
}

Result<Json> ParseSource(const std::string& text, const std::string& where) {
  ASSIGN_OR_RETURN(Json config, ParseJson(text, where));
  if (!config.is_object()) return InvalidArgument(where + " is not an object");
  return config;
}

// bos and eos as the metadata has them, where they were changed after the
// source configuration was written: the list of ends of ours names no longer
// the one that GGUF's own key does.
void TakeIds(const Json& fields, HfModel* out) {
  const Json list = fields.value(kEndIds, Json());
  const Json eos = fields.value("tokenizer.ggml.eos_token_id", Json());
  if (eos.is_number_integer()) {
    const auto names = [&](const Json& ids) {
      for (const Json& id : ids.is_array() ? ids : Json::array({ids})) {
        if (id == eos) return true;
      }
      return false;
    };
    if (!names(list) && !names(out->config.value("eos_token_id", Json()))) {
      out->config["eos_token_id"] = eos;
      out->files.texts.erase("generation_config.json");
      out->warnings.push_back(
          std::string(kSourceConfig) +
          " has other end tokens than tokenizer.ggml.eos_token_id, which "
          "counts");
    }
  }
  const Json bos = fields.value("tokenizer.ggml.bos_token_id", Json());
  if (out->files.ids_changed && bos.is_number_integer()) {
    out->config["bos_token_id"] = bos;
  }
}

// config.json speaks of the head and of biases as the file has them.
void SayBiases(const ModelConfig& model, HfModel* out) {
  const Result<FamilyModel> said = HfLayout(out->config);
  if (said.ok() && said->config.tied_head != model.tied_head) {
    out->config["tie_word_embeddings"] = model.tied_head;
  }
  const Family* family = FindFamily(TextOr(out->config, "model_type"));
  if (family == nullptr || !family->says_biases) return;
  bool some = false, all = true, units = false;
  for (const BlockConfig& block : model.blocks) {
    for (const SublayerConfig& sublayer : block.sublayers) {
      const Json bias = Json::parse(sublayer.config).value("bias", Json());
      if (sublayer.mixer == "attention") {
        for (const char* one : {"q", "k", "v", "o"}) {
          const bool there =
              bias.is_object() ? bias.value(one, false) : bias == Json(true);
          some = some || there;
          all = all && there;
        }
      } else {
        units = units || bias == Json(true);
      }
    }
  }
  if (some && all) out->config["attention_bias"] = true;
  if (units) out->config["mlp_bias"] = true;
  if (some && !all) {
    out->warnings.push_back(
        "config.json of a llama model cannot say that some of the biases of "
        "attention are there: transformers reads none of them");
  }
}

// Metadata of one architecture as fields for the family, without large arrays.
Result<HfModel> FromGguf(const Checkpoint& checkpoint) {
  HfModel out;
  const std::string where = "[convert] " + checkpoint.path() + ": ";
  const GgufMetadata& metadata = *checkpoint.gguf();
  Json fields = checkpoint.config();
  fields.erase(kHfTokenizer);
  ASSIGN_OR_RETURN(out.files, ReadModelFiles(checkpoint));
  const StoredTensor* table = checkpoint.Find("token_embd.weight");
  const int64_t rows = table == nullptr ? 0 : table->shape[0];
  std::string disagrees = "not there";
  if (metadata.Has(kSourceConfig)) {
    ASSIGN_OR_RETURN(const std::string text, metadata.String(kSourceConfig));
    ASSIGN_OR_RETURN(out.config, ParseSource(text, where + kSourceConfig));
    disagrees = SourceDisagrees(out.config, fields, rows);
    if (!disagrees.empty()) {
      out.warnings.push_back(std::string(kSourceConfig) +
                             " does not count: " + disagrees);
    }
  }
  if (disagrees.empty()) {
    TakeIds(fields, &out);
  } else {
    ASSIGN_OR_RETURN(out.config, ConfigOfGguf(fields));
    if (rows > 0) out.config["vocab_size"] = rows;
    const bool tied = checkpoint.Find("output.weight") == nullptr;
    out.config["tie_word_embeddings"] = tied;
    for (const auto& [tensor, field] :
         {std::pair("blk.0.attn_output.bias", "attention_bias"),
          std::pair("blk.0.ffn_gate.bias", "mlp_bias")}) {
      if (FindFamily(TextOr(out.config, "model_type"))->says_biases &&
          checkpoint.Find(tensor) != nullptr) {
        out.config[field] = true;
      }
    }
    if (out.files.end_ids.size() > 1) {
      out.config["eos_token_id"] = out.files.end_ids;
    }
    ASSIGN_OR_RETURN(const Translation translated, Translate(checkpoint));
    ASSIGN_OR_RETURN(const Json rope, RopeToConfig(translated.model->config()));
    out.config.update(rope);
  }
  Scrub(&out.config);
  // What the tensors say, and the names that go with them.
  ASSIGN_OR_RETURN(const Translation translated, Translate(checkpoint));
  ASSIGN_OR_RETURN(FamilyModel gguf, GgufLayout(fields));
  gguf.tensors = translated.tensors;
  SayBiases(translated.model->config(), &out);
  ASSIGN_OR_RETURN(FamilyModel hf, HfLayout(out.config));
  FitLayout(gguf.tensors, kHfHead, &hf.tensors);
  out.layout = std::move(hf.tensors);
  ASSIGN_OR_RETURN(const std::vector<NamePair> pairs,
                   JoinNames(out.layout, gguf));
  std::string dtype = TextOr(out.config, "torch_dtype");
  if (dtype.empty()) dtype = TextOr(out.config, "dtype");
  std::map<std::string, bool> used;
  for (const NamePair& pair : pairs) {
    const StoredTensor* stored = checkpoint.Find(pair.gguf);
    if (stored == nullptr) {
      return NotFound(where + "tensor " + pair.gguf + " is not there");
    }
    used[pair.gguf] = true;
    LazyTensor tensor = Lazy(*stored, pair.hf);
    if (pair.paired_heads > 0) {
      if (stored->shape[0] % (2 * pair.paired_heads) != 0) {
        return InvalidArgument(where + "tensor " + pair.gguf +
                               " has rows that are not pairs of heads");
      }
      tensor.values = [stored, heads = pair.paired_heads]() -> Result<Tensor> {
        return PairRows(stored->bytes, stored->shape[0], heads, /*back=*/true);
      };
    }
    if (pair.stack >= 0) {
      ASSIGN_OR_RETURN(tensor, Element(*stored, pair, where));
    } else if (pair.transposed) {
      ASSIGN_OR_RETURN(tensor, Turned(*stored, pair, where));
    }
    if (pair.wide || tensor.shape.rank() == 1) {
      tensor = Narrowed(std::move(tensor), dtype);
    }
    out.tensors.push_back(std::move(tensor));
  }
  for (const std::string& name : checkpoint.names()) {
    if (used[name] || IsGgufRopeTensor(name)) continue;
    return Unsupported(where + "tensor " + Printable(name) +
                       " has no name in a Hugging Face folder");
  }
  return out;
}

}  // namespace

void TakeBiases(const ModelConfig& from, ModelConfig* to) {
  to->tied_head = from.tied_head;
  for (size_t b = 0; b < to->blocks.size() && b < from.blocks.size(); ++b) {
    std::vector<SublayerConfig>& sublayers = to->blocks[b].sublayers;
    const std::vector<SublayerConfig>& others = from.blocks[b].sublayers;
    for (size_t i = 0; i < sublayers.size() && i < others.size(); ++i) {
      const Json other = Json::parse(others[i].config);
      if (sublayers[i].mixer != others[i].mixer || !other.contains("bias")) {
        continue;
      }
      Json config = Json::parse(sublayers[i].config);
      config["bias"] = other["bias"];
      sublayers[i].config = config.dump();
    }
  }
}

namespace {

// Apart from names and ids, which change no result of the model's.
bool SameModel(ModelConfig a, ModelConfig b) {
  for (ModelConfig* config : {&a, &b}) {
    config->name.clear();
    config->bos_id = -1;
    config->eos_ids.clear();
  }
  return ToJson(a) == ToJson(b);
}

Result<HfModel> FromNative(const Checkpoint& checkpoint) {
  HfModel out;
  const std::string where = "[convert] " + checkpoint.path() + ": ";
  const auto found = checkpoint.metadata().find(kSourceConfig);
  if (found == checkpoint.metadata().end()) {
    return Unsupported(where +
                       "was not made by `intarsia convert`: it does not say "
                       "which family its tensors came from");
  }
  ASSIGN_OR_RETURN(out.config,
                   ParseSource(found->second, where + kSourceConfig));
  const Family* family = FindFamily(TextOr(out.config, "model_type"));
  if (family == nullptr) {
    return Unsupported(where + "came from a family that is not known");
  }
  ASSIGN_OR_RETURN(FamilyModel maps, family->from_config(out.config));
  ASSIGN_OR_RETURN(const ModelConfig now,
                   ParseModelConfig(checkpoint.config()));
  TakeBiases(now, &maps.config);
  std::vector<TensorMap> have;
  for (const std::string& name : checkpoint.names()) {
    have.push_back({.native = name, .foreign = name});
  }
  FitLayout(have, kHfHead, &maps.tensors);
  if (!SameModel(now, maps.config)) {
    return Unsupported(where +
                       "intarsia.json was changed after it was made from a "
                       "config.json: there is no way back to that");
  }
  for (const TensorMap& map : maps.tensors) {
    const StoredTensor* stored = checkpoint.Find(map.native);
    if (stored == nullptr) {
      return NotFound(where + "tensor " + map.native + " is not there");
    }
    if (!IsWhole(map)) {
      return Unsupported(where + "the tensors of " + family->name +
                         " models are cut or turned here; the way back is "
                         "not supported");
    }
    out.tensors.push_back(Lazy(*stored, map.foreign));
  }
  out.layout = std::move(maps.tensors);
  ASSIGN_OR_RETURN(out.files, ReadModelFiles(checkpoint));
  Scrub(&out.config);
  return out;
}

}  // namespace

bool IsWhole(const TensorMap& map) {
  return !map.transpose && map.row_begin == 0 && map.row_end < 0 &&
         map.groups == 1 && map.stack < 0 && map.unsqueeze < 0;
}

namespace {

// The rows of `stored`, a stack of matrices, that are those of `map`.
Result<LazyTensor> RowsOfElement(const StoredTensor& stored,
                                 const TensorMap& from, const TensorMap& map) {
  const Shape& shape = stored.shape;
  const Format* format = FindFormat(stored.encoding);
  const int64_t end =
      from.row_end < 0 && shape.rank() == 3 ? shape[1] : from.row_end;
  if (format == nullptr || shape.rank() != 3 || map.stack >= shape[0] ||
      end > shape[1] || shape[2] % format->block() != 0) {
    return InvalidArgument("[convert] tensor " + Printable(stored.name) +
                           " is no stack of " + "matrices of " +
                           std::to_string(end) + " rows that can be cut");
  }
  LazyTensor tensor = Lazy(stored, map.foreign);
  tensor.shape = Shape{end - from.row_begin, shape[2]};
  const auto bytes = static_cast<int64_t>(format->row_bytes(shape[2]));
  const int64_t first = map.stack * shape[1];
  tensor.values = [&stored, begin = (first + from.row_begin) * bytes,
                   last = (first + end) * bytes]() -> Result<Tensor> {
    return stored.bytes.Slice(0, begin, last);
  };
  return tensor;
}

// A file that holds experts in stacks, as transformers 5 has them in memory,
// under the names that the family is published with.
Status CutAsPublished(const Checkpoint& checkpoint, const Translation& known,
                      HfModel* out) {
  std::map<std::string, const TensorMap*> have;
  for (const TensorMap& map : known.tensors) have[map.native] = &map;
  out->layout = known.layouts[0];
  for (const TensorMap& map : out->layout) {
    const auto found = have.find(map.native);
    const StoredTensor* stored =
        found == have.end() ? nullptr : checkpoint.Find(found->second->foreign);
    if (stored == nullptr) {
      return NotFound("[convert] tensor " + map.foreign + " is not there");
    }
    if (IsFp8Blocks(checkpoint, *stored)) {
      return Unsupported("[convert] tensor " + Printable(stored->name) +
                         " is of experts in FP8, which are not converted");
    }
    if (map.stack < 0) {
      out->tensors.push_back(Lazy(*stored, map.foreign));
      continue;
    }
    ASSIGN_OR_RETURN(LazyTensor rows,
                     RowsOfElement(*stored, *found->second, map));
    out->tensors.push_back(std::move(rows));
  }
  return Status::Ok();
}

Result<HfModel> ReadModel(const Checkpoint& checkpoint) {
  switch (checkpoint.kind()) {
    case CheckpointKind::kGguf:
      return FromGguf(checkpoint);
    case CheckpointKind::kNativeFolder:
      return FromNative(checkpoint);
    case CheckpointKind::kSafetensors:
      return Unsupported("[convert] " + checkpoint.path() +
                         ": a bare safetensors file says nothing of its "
                         "model; give the folder");
    case CheckpointKind::kHfFolder:
      break;
  }
  HfModel out;
  out.config = checkpoint.config();
  // The language model's tensors by their published names, and a configuration
  // that is right about the head.
  std::optional<Translation> known;
  std::set<std::string> used;
  if (KnowsFamily(checkpoint)) {
    ASSIGN_OR_RETURN(known, Translate(checkpoint));
    out.config = known->config;
    for (TensorMap map : known->tensors) {
      used.insert(map.foreign);
      map.foreign = known->Published(map.foreign);
      out.layout.push_back(std::move(map));
    }
    out.warnings = known->warnings;
  }
  if (known && !known->cut_as_published) {
    RETURN_IF_ERROR(CutAsPublished(checkpoint, *known, &out));
    ASSIGN_OR_RETURN(out.files, ReadModelFiles(checkpoint));
    Scrub(&out.config);
    return out;
  }
  bool packed = false;
  for (const StoredTensor& stored : checkpoint.tensors()) {
    if (IsFp8Scale(checkpoint, stored.name)) continue;
    if (known && !used.contains(stored.name)) continue;
    LazyTensor& tensor = out.tensors.emplace_back(
        Lazy(stored, known ? known->Published(stored.name) : stored.name));
    if (!IsFp8Blocks(checkpoint, stored)) continue;
    tensor.encoding = "f8_e4m3_128";
    packed = true;
    tensor.values = [&]() -> Result<Tensor> {
      ASSIGN_OR_RETURN(const StoredTensor packed,
                       PackFp8Blocks(checkpoint, stored));
      return packed.bytes;
    };
  }
  ASSIGN_OR_RETURN(out.files, ReadModelFiles(checkpoint));
  Scrub(&out.config);
  // What was in 8 bits with scales beside it is one tensor now.
  if (packed) out.config.erase("quantization_config");
  return out;
}

}  // namespace

Result<HfModel> ReadHfModel(const Checkpoint& checkpoint) {
  return InFile(NamingJsonFaults(checkpoint.path(),
                                 [&] { return ReadModel(checkpoint); }),
                checkpoint.path());
}

std::string SourceDisagrees(const Json& source, const Json& fields,
                            int64_t vocab_size) {
  const auto shown = [](const Json& value) {
    return value.is_null() ? std::string("missing") : Printable(value.dump());
  };
  const Result<Json> by_source = GgufFieldsOf(source);
  if (!by_source.ok()) return by_source.status().message();
  const auto differ = [&](const std::string& key) {
    const Json have = fields.value(key, Json());
    const Json want = by_source->value(key, Json());
    // A real in the file is an f32.
    const bool same = have.is_number() && want.is_number()
                          ? have.get<float>() == want.get<float>()
                          : have == want;
    return same ? std::string()
                : key + " is " + shown(have) + ", by it " + shown(want);
  };
  for (const auto& item : by_source->items()) {
    if (std::string what = differ(item.key()); !what.empty()) return what;
  }
  // What the metadata has beside that was put there later.
  const std::string prefix = TextOr(*by_source, "general.architecture") + ".";
  for (const auto& item : fields.items()) {
    if (!item.key().starts_with(prefix)) continue;
    if (std::string what = differ(item.key()); !what.empty()) return what;
  }
  const int64_t rows = FieldOr(source, "vocab_size", int64_t{0});
  if (vocab_size > 0 && rows != vocab_size) {
    return "the token table has " + std::to_string(vocab_size) +
           " rows, by it " + std::to_string(rows);
  }
  return {};
}

}  // namespace intarsia
