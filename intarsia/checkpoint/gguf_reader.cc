// Reading GGUF v2 and v3:
//   "GGUF" u32 version, u64 tensors, u64 keys,
//   keys × {string key, u32 type, value},
//   tensors × {string name, u32 rank, u64 dims (innermost first), u32 type,
//              u64 offset}, padding, data
// with string = u64 length, bytes; array = u32 type, u64 count, items.
#include <algorithm>
#include <array>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/encoding.h"
#include "intarsia/checkpoint/foreign.h"
#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kMaxName = 65535;  // bytes, of a key by the specification
constexpr uint32_t kMaxRank = 4;      // of GGML
// Models have some hundred keys, and short arrays of one item a layer. Each
// becomes a member or an item of a JSON tree, which takes many times its bytes.
constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxShortItems = 1 << 18;
// The fewest bytes that one can take: what bounds a claimed count.
constexpr uint64_t kMinKeyBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

// Bytes of a scalar; 0 for strings and arrays.
uint64_t ScalarBytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

struct TensorInfo {
  std::string_view name;  // in the file
  const Encoding* encoding = nullptr;
  Shape shape;
  uint64_t bytes = 0;
  uint64_t offset = 0;
};

class Reader {
 public:
  explicit Reader(std::shared_ptr<const MappedFile> file)
      : file_(std::move(file)), in_(file_->bytes()) {}

  Status Run(TensorTable* table, std::unique_ptr<GgufMetadata>* metadata) {
    RETURN_IF_ERROR(ReadCounts());
    for (uint64_t i = 0; i < keys_; ++i) RETURN_IF_ERROR(ReadKey(i));
    *metadata = std::make_unique<GgufMetadata>(file_, std::move(values_));
    RETURN_IF_ERROR(ReadAlignment(**metadata));
    infos_.reserve(tensors_);  // bounded by the file's size in ReadCounts
    for (uint64_t i = 0; i < tensors_; ++i) RETURN_IF_ERROR(ReadTensor(i));
    RETURN_IF_ERROR(CheckOffsets());
    return AddTensors(table);
  }

 private:
  std::string Where() const { return "[gguf] " + file_->path() + ": "; }
  std::string Where(const TensorInfo& info) const {
    return Where() + "tensor \"" + Printable(info.name) + "\" ";
  }
  Status Truncated(const std::string& what) const {
    return DataLoss(Where() + "truncated: " + what + " at byte " +
                    std::to_string(in_.offset()) + " runs past the end (" +
                    std::to_string(file_->size()) + " bytes)");
  }

  Status ReadCounts() {
    const std::string_view text = file_->text();
    if (!text.starts_with("GGUF")) {
      const std::string kind = NotWeights(text);
      if (!kind.empty()) {
        const bool remedy = kind.find(':') != std::string::npos;
        return InvalidArgument(Where() + kind +
                               (remedy ? "" : ", not a GGUF file"));
      }
    }
    if (file_->size() < 24) {
      return DataLoss(Where() + "truncated: " + std::to_string(file_->size()) +
                      " bytes, the fixed part alone has 24");
    }
    if (const auto magic = AsText(in_.Take(4)); magic != "GGUF") {
      return InvalidArgument(Where() + "bad magic \"" + Printable(magic) +
                             "\", not a GGUF file");
    }
    const auto version = in_.Read<uint32_t>();
    if (version != 2 && version != 3) {
      const bool swapped = version == 2u << 24 || version == 3u << 24;
      return Unsupported(Where() +
                         (swapped ? "big-endian files are not supported: take "
                                    "the little-endian one"
                                  : "version " + std::to_string(version) +
                                        " is not supported, 2 and 3 are: "
                                        "convert the model again"));
    }
    tensors_ = in_.Read<uint64_t>();
    keys_ = in_.Read<uint64_t>();
    const uint64_t left = in_.remaining();
    if (keys_ > left / kMinKeyBytes) {
      return InvalidArgument(Where() + "claims " + std::to_string(keys_) +
                             " keys, which cannot fit in " +
                             std::to_string(left) + " bytes");
    }
    if (keys_ > kMaxKeys) {
      return InvalidArgument(Where() + "has " + std::to_string(keys_) +
                             " keys, at most " + std::to_string(kMaxKeys) +
                             " are read");
    }
    if (tensors_ > left / kMinTensorBytes) {
      return InvalidArgument(Where() + "claims " + std::to_string(tensors_) +
                             " tensors, which cannot fit in " +
                             std::to_string(left) + " bytes");
    }
    return Status::Ok();
  }

  // A key or a tensor's name.
  Status ReadName(const std::string& what, std::string_view* name) {
    const auto length = in_.Read<uint64_t>();
    if (!in_.ok()) return Truncated(what);
    if (length == 0 || length > kMaxName) {
      return InvalidArgument(Where() + what + " has a name of " +
                             std::to_string(length) + " bytes");
    }
    const std::string_view text = AsText(in_.Take(length));
    if (!in_.ok()) return Truncated(what);
    if (!IsUtf8(text)) {
      return InvalidArgument(Where() + what + " has a name that is not UTF-8 " +
                             "(\"" + Printable(text) + "\")");
    }
    *name = text;
    return Status::Ok();
  }

  Status ReadType(const std::string& key, GgufType* type) {
    const auto raw = in_.Read<uint32_t>();
    if (!in_.ok()) return Truncated("key " + key);
    if (raw >= kGgufTypes) {
      return InvalidArgument(Where() + "key " + key + " has unknown type " +
                             std::to_string(raw));
    }
    *type = static_cast<GgufType>(raw);
    return Status::Ok();
  }

  Status ReadKey(uint64_t index) {
    std::string_view key;
    RETURN_IF_ERROR(ReadName("key " + std::to_string(index), &key));
    const std::string shown = Printable(key);
    GgufMetadata::Value value;
    RETURN_IF_ERROR(ReadType(shown, &value.type));
    if (value.type == GgufType::kArray) {
      value.array = true;
      RETURN_IF_ERROR(ReadType(shown, &value.type));
      if (value.type == GgufType::kArray) {
        return Unsupported(Where() + "key " + shown +
                           " is an array of arrays, which is not supported");
      }
      value.count = in_.Read<uint64_t>();
      if (!in_.ok()) return Truncated("key " + shown);
    }
    RETURN_IF_ERROR(ReadItems(shown, &value));
    if (!values_.emplace(key, value).second) {
      return InvalidArgument(Where() + "key " + shown + " is given twice");
    }
    return Status::Ok();
  }

  Status ReadItems(const std::string& shown, GgufMetadata::Value* value) {
    const uint64_t begin = in_.offset();
    if (value->array && value->count <= GgufMetadata::kShortArray) {
      short_items_ += value->count;
      if (short_items_ > kMaxShortItems) {
        return InvalidArgument(Where() + "key " + shown +
                               ": the arrays of up to " +
                               std::to_string(GgufMetadata::kShortArray) +
                               " items hold more than " +
                               std::to_string(kMaxShortItems) + " in all");
      }
    }
    if (value->type == GgufType::kString) {
      if (value->count > in_.remaining() / 8) return TooMany(shown, *value);
      for (uint64_t i = 0; i < value->count; ++i) {
        in_.Take(in_.Read<uint64_t>());
        if (!in_.ok()) return Truncated("a string of key " + shown);
      }
    } else {
      const auto bytes = CheckedMul(value->count, ScalarBytes(value->type));
      if (!bytes || *bytes > in_.remaining()) return TooMany(shown, *value);
      in_.Take(*bytes);
    }
    value->payload = file_->bytes().subspan(begin, in_.offset() - begin);
    return Status::Ok();
  }

  Status TooMany(const std::string& shown, const GgufMetadata::Value& value) {
    return DataLoss(Where() + "key " + shown + " claims " +
                    std::to_string(value.count) + " items, the file has " +
                    std::to_string(in_.remaining()) + " bytes left");
  }

  Status ReadAlignment(const GgufMetadata& metadata) {
    if (!metadata.Has("general.alignment")) return Status::Ok();
    ASSIGN_OR_RETURN(const int64_t value, metadata.Int("general.alignment"));
    if (value < 1 || value > static_cast<int64_t>(kMaxAlignment) ||
        (value & (value - 1)) != 0) {
      return InvalidArgument(
          Where() + "general.alignment is " + std::to_string(value) +
          ", not a power of two up to " + std::to_string(kMaxAlignment));
    }
    alignment_ = static_cast<uint64_t>(value);
    return Status::Ok();
  }

  Status ReadTensor(uint64_t index) {
    TensorInfo info;
    const std::string what = "tensor " + std::to_string(index);
    RETURN_IF_ERROR(ReadName(what, &info.name));
    const auto rank = in_.Read<uint32_t>();
    if (!in_.ok()) return Truncated(what);
    if (rank == 0 || rank > kMaxRank) {
      return InvalidArgument(Where(info) + "has " + std::to_string(rank) +
                             " dimensions, 1 to 4 are possible");
    }
    std::array<uint64_t, kMaxRank> dims{};
    for (uint32_t i = 0; i < rank; ++i) {
      dims[rank - 1 - i] = in_.Read<uint64_t>();  // outermost first
    }
    const auto type = in_.Read<uint32_t>();
    info.offset = in_.Read<uint64_t>();
    if (!in_.ok()) return Truncated(what);
    info.encoding = FindGgufEncoding(type);
    if (info.encoding == nullptr) {
      return Unsupported(Where(info) + "has unknown type " +
                         std::to_string(type));
    }
    const std::span<const uint64_t> shape(dims.data(), rank);
    if (std::ranges::count(shape, 0u) > 0) {
      return InvalidArgument(Where(info) + "has a dimension of 0");
    }
    if (Status s = CheckLayout(*info.encoding, shape, &info.shape, &info.bytes);
        !s.ok()) {
      return {s.code(), Where(info) + s.message()};
    }
    infos_.push_back(std::move(info));
    return Status::Ok();
  }

  // Tensors are aligned, in the file and apart.
  Status CheckOffsets() {
    const auto begin = CheckedAlignUp(in_.offset(), alignment_);
    // A file without tensors may end before the padding.
    data_begin_ = begin.value_or(file_->size());
    const uint64_t data =
        data_begin_ < file_->size() ? file_->size() - data_begin_ : 0;
    for (const TensorInfo& info : infos_) {
      if (info.offset % alignment_ != 0) {
        return InvalidArgument(
            Where(info) + "has offset " + std::to_string(info.offset) +
            ", not a multiple of the alignment " + std::to_string(alignment_));
      }
      if (info.offset > data || info.bytes > data - info.offset) {
        return DataLoss(Where(info) + "needs " + std::to_string(info.bytes) +
                        " bytes at offset " + std::to_string(info.offset) +
                        " of the data, which has " + std::to_string(data));
      }
    }
    std::vector<const TensorInfo*> order;
    order.reserve(infos_.size());
    for (const TensorInfo& info : infos_) order.push_back(&info);
    std::ranges::sort(order, {}, &TensorInfo::offset);
    for (size_t i = 1; i < order.size(); ++i) {
      if (order[i]->offset - order[i - 1]->offset < order[i - 1]->bytes) {
        return InvalidArgument(Where(*order[i]) + "overlaps tensor \"" +
                               Printable(order[i - 1]->name) + "\"");
      }
    }
    return Status::Ok();
  }

  Status AddTensors(TensorTable* table) const {
    const std::shared_ptr<Storage> storage = StorageOf(file_);
    table->Reserve(infos_.size());
    for (const TensorInfo& info : infos_) {
      RETURN_IF_ERROR(
          table->Add({.name = std::string(info.name),
                      .shape = info.shape,
                      .encoding = std::string(info.encoding->name),
                      .bytes = Tensor::Wrap(storage, data_begin_ + info.offset,
                                            {static_cast<int64_t>(info.bytes)},
                                            DType::kU8),
                      .file = file_}));
    }
    return Status::Ok();
  }

  std::shared_ptr<const MappedFile> file_;
  ByteReader in_;
  uint64_t tensors_ = 0;
  uint64_t keys_ = 0;
  uint64_t short_items_ = 0;
  uint64_t alignment_ = kDefaultAlignment;
  uint64_t data_begin_ = 0;
  std::map<std::string, GgufMetadata::Value> values_;
  std::vector<TensorInfo> infos_;
};

}  // namespace

Status ReadGguf(std::shared_ptr<const MappedFile> file, TensorTable* table,
                std::unique_ptr<GgufMetadata>* metadata) {
  return Reader(std::move(file)).Run(table, metadata);
}

}  // namespace intarsia
