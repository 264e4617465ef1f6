#include "intarsia/convert/hf_model.h"

#include <fstream>
#include <map>
#include <sstream>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/convert/layouts.h"
#include "intarsia/families/fp8_blocks.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

std::string ReadText(const std::string& path) {
  if (path.empty()) return {};
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

LazyTensor Lazy(const StoredTensor& stored, std::string name) {
  return {.name = std::move(name),
          .encoding = stored.encoding,
          .shape = stored.shape,
          .values = [&stored]() -> Result<Tensor> { return stored.bytes; }};
}

void ReadFiles(const Checkpoint& checkpoint, HfModel* out) {
  out->tokenizer = ReadText(checkpoint.tokenizer_path());
  out->tokenizer_config = ReadText(checkpoint.tokenizer_config_path());
  out->generation_config = ReadText(checkpoint.generation_config_path());
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

// Metadata of one architecture as fields for the family, without large arrays.
Result<HfModel> FromGguf(const Checkpoint& checkpoint) {
  HfModel out;
  const std::string where = "[convert] " + checkpoint.path() + ": ";
  const GgufMetadata& metadata = *checkpoint.gguf();
  Json fields = checkpoint.config();
  fields.erase(kHfTokenizer);
  if (metadata.Has(kSourceConfig)) {
    ASSIGN_OR_RETURN(const std::string text, metadata.String(kSourceConfig));
    ASSIGN_OR_RETURN(out.config, ParseSource(text, where + kSourceConfig));
  } else {
    ASSIGN_OR_RETURN(out.config, ConfigOfGguf(fields));
    const StoredTensor* table = checkpoint.Find("token_embd.weight");
    if (table != nullptr) out.config["vocab_size"] = table->shape[0];
    const bool tied = checkpoint.Find("output.weight") == nullptr;
    out.config["tie_word_embeddings"] = tied;
  }
  ASSIGN_OR_RETURN(const std::vector<NamePair> pairs,
                   JoinNames(out.config, fields));
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
    if (used[name]) continue;
    return Unsupported(where + "tensor " + Printable(name) +
                       " has no name in a Hugging Face folder");
  }
  TokenizerFromGguf(metadata, &out);
  return out;
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
  ASSIGN_OR_RETURN(const FamilyModel maps, family->from_config(out.config));
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
  ReadFiles(checkpoint, &out);
  return out;
}

}  // namespace

bool IsWhole(const TensorMap& map) {
  return !map.transpose && map.row_begin == 0 && map.row_end < 0 &&
         map.stack < 0 && map.unsqueeze < 0;
}

Result<HfModel> ReadHfModel(const Checkpoint& checkpoint) {
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
  for (const StoredTensor& stored : checkpoint.tensors()) {
    if (IsFp8Scale(checkpoint, stored.name)) continue;
    LazyTensor& tensor = out.tensors.emplace_back(Lazy(stored, stored.name));
    if (!IsFp8Blocks(checkpoint, stored)) continue;
    tensor.encoding = "f8_e4m3_128";
    tensor.values = [&]() -> Result<Tensor> {
      ASSIGN_OR_RETURN(const StoredTensor packed,
                       PackFp8Blocks(checkpoint, stored));
      return packed.bytes;
    };
  }
  ReadFiles(checkpoint, &out);
  return out;
}

}  // namespace intarsia
