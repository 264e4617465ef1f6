#include "intarsia/families/load.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/core/in_file.h"
#include "intarsia/families/fp8_blocks.h"
#include "intarsia/families/translate.h"

namespace intarsia {
namespace {

// The last two axes change places.
Tensor Transposed(const Tensor& in) {
  const int64_t rows = in.dim(-2), cols = in.dim(-1);
  Tensor out = Tensor::Empty(
      in.shape().With(in.rank() - 2, cols).With(in.rank() - 1, rows));
  const int64_t size = std::max<int64_t>(1, rows * cols);
  for (int64_t at = 0; at < in.numel(); at += size) {
    const float* src = in.data<float>() + at;
    float* dst = out.mutable_data<float>() + at;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        dst[c * rows + r] = src[r * cols + c];
      }
    }
  }
  return out;
}

// A stored tensor with its format, before slicing.
struct Source {
  const Format* format = nullptr;
  Tensor values;  // plain: the stored shape; blocks: u8, last axis in bytes
};

Result<Source> Read(const StoredTensor& stored, bool one_number) {
  Source source;
  source.format = FindFormat(stored.encoding);
  if (source.format == nullptr) {
    return Unsupported("[load] tensor " + stored.name + " is stored as " +
                       stored.encoding +
                       ", which this build cannot compute "
                       "with; `intarsia list` shows the formats");
  }
  if (stored.shape.rank() == 0 && !one_number) {
    return Unsupported("[load] tensor " + stored.name + " is a scalar");
  }
  const Shape shape = stored.shape.rank() == 0 ? Shape({1}) : stored.shape;
  if (source.format->storage() == DType::kU8) {
    const int last = shape.rank() - 1;
    if (shape[last] % source.format->block() != 0) {
      return InvalidArgument("[load] tensor " + stored.name + " " +
                             shape.ToString() + " does not divide into blocks");
    }
    source.values = stored.bytes.Reshape(shape.With(
        last, static_cast<int64_t>(source.format->row_bytes(shape[last]))));
    return source;
  }
  const DType dtype = source.format->storage();
  // Files may place tensors at odd offsets.
  Tensor bytes = stored.bytes;
  if (reinterpret_cast<uintptr_t>(bytes.raw()) % SizeOf(dtype) != 0) {
    bytes = bytes.Clone();
  }
  source.values = bytes.Reinterpret(shape, dtype);
  return source;
}

// [G · N, ...] → [G, N, ...].
Tensor Grouped(const Tensor& rows, int64_t groups) {
  std::vector<int64_t> dims(rows.shape().dims().begin(),
                            rows.shape().dims().end());
  dims[0] /= groups;
  dims.insert(dims.begin(), groups);
  return rows.Contiguous().Reshape(Shape(dims));
}

// The part of a foreign tensor that `map` names, in its format where that can
// be cut, else in fp32.
Result<Source> Cut(const TensorMap& map, Source source) {
  if (map.transpose) {
    if (source.values.rank() < 2 || source.format->storage() == DType::kU8) {
      return Unsupported("[load] " + map.foreign +
                         " must be a plain matrix to be transposed");
    }
    source.values = Transposed(source.values.To(DType::kF32));
    source.format = &PlainFormat(DType::kF32);
  }
  if (source.values.rank() <= map.row_axis) {
    return InvalidArgument("[load] " + map.foreign + " has shape " +
                           source.values.shape().ToString() +
                           ", too few dimensions");
  }
  const Shape whole = source.values.shape();
  if (map.groups > 1) {
    if (map.row_axis != 0 || whole[0] % map.groups != 0) {
      return InvalidArgument(
          "[load] " + map.foreign + " has " + std::to_string(whole[0]) +
          " rows, which are not " + std::to_string(map.groups) + " groups");
    }
    source.values = Grouped(source.values, map.groups);
  }
  const int axis = map.row_axis + (map.groups > 1 ? 1 : 0);
  const int64_t rows = source.values.dim(axis);
  const int64_t end = map.row_end < 0 ? rows : map.row_end;
  if (map.row_begin > end || end > rows) {
    return InvalidArgument("[load] " + map.foreign + " has " +
                           std::to_string(rows) + " rows, needed are " +
                           std::to_string(map.row_begin) + " to " +
                           std::to_string(end));
  }
  if (map.row_begin != 0 || end != rows) {
    source.values = source.values.Slice(axis, map.row_begin, end);
  }
  if (map.groups > 1) {
    source.values = source.values.Contiguous().Reshape(
        whole.With(0, map.groups * (end - map.row_begin)));
  }
  return source;
}

Tensor ToF32(const Source& source, int64_t k) {
  ThreadPool serial(1);
  if (source.format->storage() == DType::kU8) {
    return source.format->Dequantize(serial, source.values.Contiguous(), k);
  }
  return source.values.To(DType::kF32);
}

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const LoadOptions& options,
         LoadedModel* out)
      : checkpoint_(checkpoint), options_(options), out_(out) {}

  Status Run() {
    std::map<std::string, std::vector<const TensorMap*>> by_native;
    for (const TensorMap& map : out_->tensors) {
      by_native[map.native].push_back(&map);
    }
    RETURN_IF_ERROR(CheckTensors());
    if (options_.admit) {
      RETURN_IF_ERROR(options_.admit(*out_->model, StoredBytes()));
    }
    size_t done = 0;
    for (const auto& [native, maps] : by_native) {
      RETURN_IF_ERROR(InFile(Named(Load(native, maps), maps.front()->foreign),
                             checkpoint_.path()));
      ++done;
      if (options_.progress && !options_.progress(done, by_native.size())) {
        return Unavailable("[load] " + checkpoint_.path() +
                           ": the load was cancelled");
      }
    }
    return InFile(out_->model->CheckComplete(), checkpoint_.path());
  }

 private:
  // An error about a weight says what the file calls it.
  static Status Named(Status status, const std::string& foreign) {
    if (status.ok() || status.message().find(foreign) != std::string::npos) {
      return status;
    }
    return {status.code(), status.message() + " (tensor " + foreign + ")"};
  }

  // Of the tensors that the model takes, each once.
  size_t StoredBytes() const {
    std::set<std::string> counted;
    size_t bytes = 0;
    for (const TensorMap& map : out_->tensors) {
      if (!counted.insert(map.foreign).second) continue;
      bytes += checkpoint_.Find(map.foreign)->bytes.nbytes();
    }
    return bytes;
  }

  // Names the tensors that are wanted and not there, as the file would.
  Status CheckTensors() const {
    std::set<std::string> missing;
    for (const TensorMap& map : out_->tensors) {
      if (checkpoint_.Find(map.foreign) == nullptr) missing.insert(map.foreign);
    }
    if (missing.empty()) return Status::Ok();
    return DataLoss("[load] " + checkpoint_.path() + ": the checkpoint lacks " +
                    Listed({missing.begin(), missing.end()}));
  }

  Status Load(const std::string& native,
              const std::vector<const TensorMap*>& maps) {
    const Weight* weight = out_->model->Find(native);
    CHECK(weight != nullptr) << native << " is mapped but not in the model";
    const WeightSpec& spec = weight->spec();
    const int64_t k = spec.shape[spec.shape.rank() - 1];
    const bool stacked = maps.front()->stack >= 0;
    std::vector<Source> parts(stacked ? spec.shape[0] : 1);
    for (const TensorMap* map : maps) {
      const StoredTensor* stored = checkpoint_.Find(map->foreign);
      CHECK(stored != nullptr) << map->foreign;  // CheckTensors
      StoredTensor packed;
      if (IsFp8Blocks(checkpoint_, *stored)) {
        ASSIGN_OR_RETURN(packed, PackFp8Blocks(checkpoint_, *stored));
        stored = &packed;
      }
      ASSIGN_OR_RETURN(Source source, Read(*stored, spec.shape.numel() == 1));
      ASSIGN_OR_RETURN(source, Cut(*map, std::move(source)));
      if (stacked && source.values.rank() + 1 != spec.shape.rank()) {
        return InvalidArgument("[load] " + map->foreign + " has shape " +
                               stored->shape.ToString());
      }
      const Source& first = parts.front();
      if (stacked && first.format != nullptr &&
          (first.format != source.format ||
           !(first.values.shape() == source.values.shape()))) {
        return InvalidArgument("[load] the parts of " + native +
                               " differ in shape or format: " + map->foreign +
                               " is " + std::string(source.format->name()) +
                               " " + stored->shape.ToString() + ", " +
                               maps.front()->foreign + " is not");
      }
      parts.at(stacked ? map->stack : 0) = std::move(source);
    }
    for (const Source& part : parts) {
      CHECK(part.format != nullptr) << native;
    }
    Source whole = std::move(parts[0]);
    if (stacked) {
      parts[0] = whole;
      whole = Stack(parts);
    }
    return Set(native, spec, std::move(whole), k);
  }

  // Elements of one weight, alike, copied one after the other.
  static Source Stack(const std::vector<Source>& parts) {
    const Shape& shape = parts[0].values.shape();
    std::vector<int64_t> dims = {static_cast<int64_t>(parts.size())};
    dims.insert(dims.end(), shape.dims().begin(), shape.dims().end());
    Source out{parts[0].format,
               Tensor::Empty(Shape(dims), parts[0].values.dtype())};
    for (size_t e = 0; e < parts.size(); ++e) {
      out.values.Select(0, static_cast<int64_t>(e)).CopyFrom(parts[e].values);
    }
    return out;
  }

  Status Set(const std::string& native, const WeightSpec& spec, Source source,
             int64_t k) {
    const bool vector = spec.role == WeightSpec::Role::kVector;
    const Format* want = vector ? &PlainFormat(DType::kF32) : options_.matrices;
    // conv1d's [C, 1, W] and ours [C, W] hold the same numbers.
    if (source.format->storage() != DType::kU8 &&
        source.values.numel() == spec.shape.numel() &&
        !(source.values.shape() == spec.shape) && vector) {
      source.values = source.values.Contiguous().Reshape(spec.shape);
    }
    const bool blocks = source.format->storage() == DType::kU8;
    if (blocks && source.values.dim(-1) !=
                      static_cast<int64_t>(source.format->row_bytes(k))) {
      return InvalidArgument("[load] " + native + " has rows of " +
                             std::to_string(source.values.dim(-1)) +
                             " bytes of " + std::string(source.format->name()) +
                             ", expected are " + std::to_string(k) +
                             " numbers");
    }
    if (want != nullptr && want != source.format) {
      const int64_t stored_k =
          source.format->storage() == DType::kU8 ? k : source.values.dim(-1);
      Tensor values = ToF32(source, stored_k);
      if (want->storage() != DType::kF32) {
        if (values.dim(-1) % want->block() != 0) {
          return InvalidArgument("[load] " + native +
                                 " does not divide into blocks of " +
                                 std::string(want->name()));
        }
        ThreadPool serial(1);
        values = want->Quantize(serial, values);
      }
      source = {want, std::move(values)};
    }
    return out_->model->SetWeight(native, *source.format,
                                  source.values.Contiguous());
  }

  const Checkpoint& checkpoint_;
  const LoadOptions& options_;
  LoadedModel* out_;
};

}  // namespace

Result<LoadedModel> LoadModel(const Checkpoint& checkpoint,
                              const LoadOptions& options) {
  ASSIGN_OR_RETURN(Translation translated, Translate(checkpoint));
  RETURN_IF_ERROR(CheckUnused(checkpoint, options.allow_unused, &translated));
  LoadedModel out{.model = std::move(translated.model),
                  .family = std::move(translated.family),
                  .tensors = std::move(translated.tensors),
                  .layouts = std::move(translated.layouts),
                  .warnings = std::move(translated.warnings),
                  .unused_tensors = std::move(translated.unused_tensors),
                  .unused_fields = std::move(translated.unused_fields)};
  RETURN_IF_ERROR(Loader(checkpoint, options, &out).Run());
  return out;
}

const std::vector<TensorMap>& ChooseLayout(
    const std::vector<std::vector<TensorMap>>& layouts,
    const Checkpoint& file) {
  for (const std::vector<TensorMap>& layout : layouts) {
    if (std::ranges::all_of(layout, [&](const TensorMap& map) {
          return file.Find(map.foreign) != nullptr;
        })) {
      return layout;
    }
  }
  return layouts.front();
}

std::vector<std::pair<std::string, Tensor>> ToForeign(
    const std::vector<TensorMap>& maps, const Model& model,
    const NativeValues& native) {
  // Rows each foreign tensor has in all, then its parts.
  struct Part {
    const TensorMap* map;
    Tensor values;
  };
  std::map<std::string, std::vector<Part>> foreign;
  for (const TensorMap& map : maps) {
    const Shape& shape = model.Find(map.native)->shape();
    Tensor values = native(map.native);
    if (!values.defined()) values = Tensor::Zeros(shape);
    if (map.stack >= 0) values = values.Select(0, map.stack);
    foreign[map.foreign].push_back({&map, values});
  }
  std::vector<std::pair<std::string, Tensor>> out;
  for (const auto& [name, parts] : foreign) {
    int64_t rows = 0;
    const TensorMap& first = *parts[0].map;
    const int axis = first.row_axis;
    const int64_t groups = first.groups;
    for (const Part& part : parts) {
      rows =
          std::max(rows, groups * part.map->row_begin + part.values.dim(axis));
    }
    // Rows that no part has are zero.
    Tensor whole = Tensor::Zeros(parts[0].values.shape().With(axis, rows));
    for (const Part& part : parts) {
      const int64_t begin = part.map->row_begin;
      const int64_t count = part.values.dim(axis) / groups;
      if (groups > 1) {
        Grouped(whole, groups)
            .Slice(1, begin, begin + count)
            .CopyFrom(Grouped(part.values, groups));
      } else {
        whole.Slice(axis, begin, begin + count).CopyFrom(part.values);
      }
    }
    if (first.transpose && whole.rank() >= 2) whole = Transposed(whole);
    if (first.unsqueeze >= 0) {
      std::vector<int64_t> dims(whole.shape().dims().begin(),
                                whole.shape().dims().end());
      dims.insert(dims.begin() + first.unsqueeze, 1);
      whole = whole.Reshape(Shape(dims));
    }
    out.emplace_back(name, whole);
  }
  return out;
}

}  // namespace intarsia
