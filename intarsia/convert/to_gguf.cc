// Hugging Face's layout to GGUF's.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/convert/hf_model.h"
#include "intarsia/convert/layouts.h"
#include "intarsia/convert/rope_layout.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// 16-bit numbers as f32.
LazyTensor Widened(LazyTensor tensor) {
  if (tensor.encoding != "bf16" && tensor.encoding != "f16") return tensor;
  const Format& format = *FindFormat(tensor.encoding);
  tensor.encoding = "f32";
  tensor.values = [&format, n = tensor.shape.numel(),
                   values = tensor.values]() -> Result<Tensor> {
    ASSIGN_OR_RETURN(const Tensor bytes, values());
    Tensor out = Tensor::Empty({n});
    format.DequantizeRow(bytes.raw(), out.mutable_data<float>(), n);
    return out;
  };
  return tensor;
}

LazyTensor Paired(LazyTensor tensor, int64_t heads) {
  tensor.values = [rows = tensor.shape[0], heads,
                   values = tensor.values]() -> Result<Tensor> {
    ASSIGN_OR_RETURN(const Tensor bytes, values());
    return PairRows(bytes, rows, heads, /*back=*/false);
  };
  return tensor;
}

Result<LazyTensor> Transposed(LazyTensor tensor) {
  const Format* format = FindFormat(tensor.encoding);
  if (format == nullptr || format->block() != 1 || tensor.shape.rank() != 2) {
    return Unsupported("[convert] tensor " + Printable(tensor.name) +
                       " must be a plain matrix to be transposed");
  }
  const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
  tensor.shape = Shape{cols, rows};
  tensor.values = [rows, cols, width = SizeOf(format->storage()),
                   values = tensor.values]() -> Result<Tensor> {
    ASSIGN_OR_RETURN(const Tensor bytes, values());
    return TransposeBytes(bytes, rows, cols, static_cast<int64_t>(width));
  };
  return tensor;
}

// One after the other along a new first axis.
Result<LazyTensor> Stacked(std::vector<LazyTensor> parts) {
  LazyTensor out = parts[0];
  for (const LazyTensor& part : parts) {
    if (part.shape == out.shape && part.encoding == out.encoding) continue;
    return InvalidArgument("[convert] the parts of " + Printable(out.name) +
                           " differ in shape or format");
  }
  std::vector<int64_t> dims = {static_cast<int64_t>(parts.size())};
  dims.insert(dims.end(), out.shape.dims().begin(), out.shape.dims().end());
  out.shape = Shape(dims);
  out.values = [parts = std::move(parts)]() -> Result<Tensor> {
    std::vector<uint8_t> all;
    for (const LazyTensor& part : parts) {
      ASSIGN_OR_RETURN(const Tensor values, part.values());
      const Tensor bytes = values.Contiguous();
      const auto* from = reinterpret_cast<const uint8_t*>(bytes.raw());
      all.insert(all.end(), from, from + bytes.nbytes());
    }
    return Tensor::From(all, {static_cast<int64_t>(all.size())});
  };
  return out;
}

// Metadata from JSON: counts as u32, reals as f32.
void AddFields(const Json& fields, GgufModel* out) {
  for (const auto& item : fields.items()) {
    const Json& value = item.value();
    const bool real = item.key().ends_with("epsilon") ||
                      item.key().ends_with("freq_base") ||
                      item.key().ends_with("factor") || value.is_number_float();
    if (value.is_string()) {
      out->Set(item.key(), value.get<std::string>());
    } else if (real) {
      out->Set(item.key(), value.get<float>());
    } else {
      out->Set(item.key(), value.get<uint32_t>());
    }
  }
}

Status AddRopeTensors(const HfModel& model, GgufModel* out) {
  const Family* family = FindFamily(TextOr(model.config, "model_type"));
  CHECK(family != nullptr);  // its names were joined
  ASSIGN_OR_RETURN(const FamilyModel ours, family->from_config(model.config));
  ASSIGN_OR_RETURN(GgufRope rope, RopeToGguf(ours.config));
  for (auto& [name, divisors] : rope.tensors) {
    const auto n = static_cast<int64_t>(divisors.size());
    const Tensor values = Tensor::From(divisors, {n});
    out->tensors.push_back(
        {.name = name,
         .encoding = "f32",
         .shape = Shape{n},
         .values = [values]() -> Result<Tensor> { return values; }});
  }
  return Status::Ok();
}

uint32_t FileType(const std::vector<LazyTensor>& tensors) {
  std::map<std::string, int64_t> numbers;
  for (const LazyTensor& tensor : tensors) {
    numbers[tensor.encoding] += tensor.shape.numel();
  }
  if (numbers["bf16"] > numbers["f16"] && numbers["bf16"] > numbers["f32"]) {
    return 32;
  }
  return numbers["f16"] > numbers["f32"] ? 1 : 0;
}

}  // namespace

Result<GgufModel> ToGgufModel(const HfModel& model, const std::string& name) {
  ASSIGN_OR_RETURN(const Json fields, GgufFieldsOf(model.config));
  ASSIGN_OR_RETURN(FamilyModel gguf, GgufLayout(fields));
  FitLayout(model.layout, kGgufHead, &gguf.tensors);
  ASSIGN_OR_RETURN(const std::vector<NamePair> pairs,
                   JoinNames(model.layout, gguf));
  GgufModel out;
  out.warnings = model.warnings;
  for (std::string& unread : UnreadByOthers(fields, pairs)) {
    out.warnings.push_back(std::move(unread));
  }
  AddFields(fields, &out);
  out.Set("general.name", name);
  std::map<std::string, const LazyTensor*> stored;
  for (const LazyTensor& tensor : model.tensors) stored[tensor.name] = &tensor;
  std::set<std::string> used;
  std::map<std::string, std::vector<LazyTensor>> stacks;
  for (const NamePair& pair : pairs) {
    const auto found = stored.find(pair.hf);
    if (found == stored.end()) {
      return NotFound("[convert] tensor " + pair.hf + " is not there");
    }
    used.insert(pair.hf);
    LazyTensor tensor = *found->second;
    tensor.name = pair.gguf;
    if (pair.paired_heads > 0) {
      if (tensor.shape[0] % (2 * pair.paired_heads) != 0) {
        return InvalidArgument("[convert] tensor " + pair.hf + " has " +
                               std::to_string(tensor.shape[0]) +
                               " rows, not pairs of " +
                               std::to_string(pair.paired_heads) + " heads");
      }
      tensor = Paired(std::move(tensor), pair.paired_heads);
    }
    if (pair.transposed) {
      ASSIGN_OR_RETURN(tensor, Transposed(std::move(tensor)));
    }
    if (pair.stack >= 0) {
      // In the order of the elements, as the family names them.
      std::vector<LazyTensor>& parts = stacks[pair.gguf];
      parts.push_back(std::move(tensor));
      if (static_cast<int64_t>(parts.size()) < pair.stack_size) continue;
      ASSIGN_OR_RETURN(tensor, Stacked(std::move(parts)));
    }
    if (pair.wide || tensor.shape.rank() == 1) {
      tensor = Widened(std::move(tensor));
    }
    out.tensors.push_back(std::move(tensor));
  }
  RETURN_IF_ERROR(AddRopeTensors(model, &out));
  for (const LazyTensor& tensor : model.tensors) {
    if (used.contains(tensor.name)) continue;
    // A copy of the tied table, and constants of rotary embeddings.
    if (tensor.name != "lm_head.weight" && !tensor.name.ends_with("inv_freq")) {
      return Unsupported("[convert] tensor " + Printable(tensor.name) +
                         " has no name in GGUF");
    }
    out.warnings.push_back("tensor " + tensor.name + " is left out");
  }
  out.Set("general.file_type", FileType(out.tensors));
  out.Set(kSourceConfig, model.config.dump());
  FilesToGguf(model.files, model.config,
              FieldOr(model.config, "vocab_size", int64_t{0}), &out);
  return out;
}

}  // namespace intarsia
