// Writing GGUF v3; gguf_reader.cc has the layout.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <type_traits>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/encoding.h"
#include "intarsia/checkpoint/gguf.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/checkpoint/write_item.h"

namespace intarsia {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint64_t kDefaultAlignment = 32;

template <typename T>
constexpr GgufType TypeOf() {
  if constexpr (std::is_same_v<T, uint8_t>) return GgufType::kU8;
  if constexpr (std::is_same_v<T, int8_t>) return GgufType::kI8;
  if constexpr (std::is_same_v<T, uint16_t>) return GgufType::kU16;
  if constexpr (std::is_same_v<T, int16_t>) return GgufType::kI16;
  if constexpr (std::is_same_v<T, uint32_t>) return GgufType::kU32;
  if constexpr (std::is_same_v<T, int32_t>) return GgufType::kI32;
  if constexpr (std::is_same_v<T, float>) return GgufType::kF32;
  if constexpr (std::is_same_v<T, bool>) return GgufType::kBool;
  if constexpr (std::is_same_v<T, std::string>) return GgufType::kString;
  if constexpr (std::is_same_v<T, uint64_t>) return GgufType::kU64;
  if constexpr (std::is_same_v<T, int64_t>) return GgufType::kI64;
  if constexpr (std::is_same_v<T, double>) return GgufType::kF64;
}

// Appends the parts of the header to a string.
class Header {
 public:
  template <typename T>
  void Put(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    text_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void Put(const std::string& value) {
    Put(static_cast<uint64_t>(value.size()));
    text_ += value;
  }
  void PutValue(const GgufValue& value) {
    std::visit([this](const auto& v) { PutTyped(v); }, value);
  }
  void PutItem(const LazyTensor& tensor, const Encoding& encoding,
               uint64_t offset) {
    Put(tensor.name);
    Put(static_cast<uint32_t>(tensor.shape.rank()));
    for (int i = tensor.shape.rank(); i-- > 0;) {  // innermost first
      Put(static_cast<uint64_t>(tensor.shape[i]));
    }
    Put(static_cast<uint32_t>(encoding.gguf_type));
    Put(offset);
  }
  const std::string& text() const { return text_; }

 private:
  template <typename T>
  void PutTyped(const T& value) {
    Put(TypeOf<T>());
    Put(value);
  }
  template <typename T>
  void PutTyped(const std::vector<T>& values) {
    Put(GgufType::kArray);
    Put(TypeOf<T>());
    Put(static_cast<uint64_t>(values.size()));
    for (const T& value : values) Put(value);
  }
  void PutTyped(const std::vector<bool>& values) {
    Put(GgufType::kArray);
    Put(GgufType::kBool);
    Put(static_cast<uint64_t>(values.size()));
    for (bool value : values) Put(value);
  }

  std::string text_;
};

Result<uint64_t> CheckMetadata(const GgufEntries& metadata,
                               const std::string& where) {
  uint64_t alignment = kDefaultAlignment;
  std::set<std::string_view> keys;
  for (const auto& [key, value] : metadata) {
    if (key.empty() || !IsUtf8(key) || !keys.insert(key).second) {
      return InvalidArgument(where + "key \"" + Printable(key) +
                             "\" is empty, not UTF-8 or there twice");
    }
    if (key != "general.alignment") continue;
    const auto* given = std::get_if<uint32_t>(&value);
    if (given == nullptr || *given == 0 || *given > 1 << 20 ||
        (*given & (*given - 1)) != 0) {
      return InvalidArgument(where +
                             "general.alignment must be a u32, a power of two");
    }
    alignment = *given;
  }
  return alignment;
}

// What one file holds.
struct Part {
  GgufEntries metadata;
  std::vector<const LazyTensor*> tensors;
};

// A checked tensor in its place.
struct Placed {
  const LazyTensor* source = nullptr;
  const Encoding* encoding = nullptr;
  uint64_t bytes = 0;
};

Result<Placed> Check(const LazyTensor& tensor, const std::string& where) {
  const std::string what = where + "tensor \"" + Printable(tensor.name) + "\" ";
  Placed placed{.source = &tensor, .encoding = FindEncoding(tensor.encoding)};
  if (tensor.name.empty() || !IsUtf8(tensor.name)) {
    return InvalidArgument(what + "needs a name in UTF-8");
  }
  if (placed.encoding == nullptr || placed.encoding->gguf_type < 0) {
    return Unsupported(what + "is " + tensor.encoding +
                       ", which GGUF does not have");
  }
  const auto dims = tensor.shape.dims();
  const std::vector<uint64_t> checked(dims.begin(), dims.end());
  Shape shape;
  if (Status s = CheckLayout(*placed.encoding, checked, &shape, &placed.bytes);
      !s.ok()) {
    return Status(s.code(), what + s.message());
  }
  if (shape.rank() < 1 || shape.rank() > 4 || placed.bytes == 0) {
    return Unsupported(what + "has shape " + shape.ToString() +
                       ", GGUF has 1 to 4 dimensions, none of them empty");
  }
  return placed;
}

// Writes one file, up to but without its move to its name.
Status WritePart(const Part& part, const std::string& where, AtomicFile* file) {
  ASSIGN_OR_RETURN(const uint64_t alignment,
                   CheckMetadata(part.metadata, where));
  Header header;
  for (char c : {'G', 'G', 'U', 'F'}) header.Put(c);
  header.Put(kVersion);
  header.Put(static_cast<uint64_t>(part.tensors.size()));
  header.Put(static_cast<uint64_t>(part.metadata.size()));
  for (const auto& [key, value] : part.metadata) {
    header.Put(key);
    header.PutValue(value);
  }
  std::vector<Placed> all;
  uint64_t offset = 0;
  for (const LazyTensor* tensor : part.tensors) {
    ASSIGN_OR_RETURN(const Placed placed, Check(*tensor, where));
    header.PutItem(*tensor, *placed.encoding, offset);
    offset = *CheckedAlignUp(offset + placed.bytes, alignment);
    all.push_back(placed);
  }
  RETURN_IF_ERROR(file->Open());
  RETURN_IF_ERROR(file->Write(header.text()));
  const uint64_t begin = header.text().size();
  RETURN_IF_ERROR(file->Zeros(*CheckedAlignUp(begin, alignment) - begin));
  for (const Placed& placed : all) {
    ASSIGN_OR_RETURN(const Tensor values, placed.source->values());
    const Tensor host = values.To(Cpu()).Contiguous();
    if (host.nbytes() != placed.bytes) {
      return InvalidArgument(
          where + "tensor \"" + Printable(placed.source->name) + "\" " +
          placed.source->encoding + " " + placed.source->shape.ToString() +
          " has " + std::to_string(placed.bytes) + " bytes, given are " +
          std::to_string(host.nbytes()));
    }
    RETURN_IF_ERROR(file->Write({host.raw(), host.nbytes()}));
    RETURN_IF_ERROR(
        file->Zeros(*CheckedAlignUp(placed.bytes, alignment) - placed.bytes));
  }
  return Status::Ok();
}

std::string PartPath(const std::string& path, size_t part, size_t count) {
  auto five = [](size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits;
  };
  const size_t stem = path.size() - (path.ends_with(".gguf") ? 5 : 0);
  return path.substr(0, stem) + "-" + five(part) + "-of-" + five(count) +
         ".gguf";
}

}  // namespace

Result<std::vector<std::string>> WriteGgufParts(
    const std::string& path, const GgufEntries& metadata,
    std::span<const LazyTensor> tensors, uint64_t max_part_bytes) {
  const std::string where = "[gguf] " + path + ": ";
  std::set<std::string_view> names;
  std::vector<Part> parts(1);
  uint64_t in_part = 0;
  for (const LazyTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      return InvalidArgument(where + "tensor \"" + Printable(tensor.name) +
                             "\" is there twice");
    }
    ASSIGN_OR_RETURN(const Placed placed, Check(tensor, where));
    if (max_part_bytes > 0 && !parts.back().tensors.empty() &&
        in_part + placed.bytes > max_part_bytes) {
      parts.emplace_back();
      in_part = 0;
    }
    parts.back().tensors.push_back(&tensor);
    in_part += placed.bytes;
  }
  if (parts.size() > 99999) {
    return InvalidArgument(where + std::to_string(parts.size()) +
                           " parts, at most 99999 can be named");
  }
  parts[0].metadata = metadata;
  std::vector<std::string> paths = {path};
  if (parts.size() > 1) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    if (std::filesystem::exists(status) &&
        !std::filesystem::is_regular_file(status)) {
      return InvalidArgument(where + "only a file can be split in parts");
    }
    paths.clear();
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::initializer_list<GgufEntries::value_type> split = {
          {"split.no", static_cast<uint16_t>(i)},
          {"split.count", static_cast<uint16_t>(parts.size())},
          {"split.tensors.count", static_cast<int32_t>(tensors.size())}};
      parts[i].metadata.insert(parts[i].metadata.end(), split);
      paths.push_back(PartPath(path, i + 1, parts.size()));
    }
  }
  // The first part, which is what one opens, appears last.
  FileSet set;
  std::vector<AtomicFile*> files(parts.size());
  for (size_t i = parts.size(); i-- > 0;) files[i] = &set.Add(paths[i], "gguf");
  for (size_t i = 0; i < parts.size(); ++i) {
    RETURN_IF_ERROR(WritePart(parts[i], where, files[i]));
  }
  RETURN_IF_ERROR(set.Commit());
  return paths;
}

Status WriteGguf(const std::string& path, const GgufEntries& metadata,
                 std::span<const NamedTensor> tensors) {
  return WriteGgufParts(path, metadata, Lazily(tensors), 0).status();
}

}  // namespace intarsia
