// Writing GGUF v3; gguf_reader.cc has the layout.
#include <set>
#include <type_traits>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/gguf.h"
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
  void PutItem(const WriteItem& item, uint64_t offset) {
    Put(item.source->name);
    Put(static_cast<uint32_t>(item.shape.rank()));
    for (int i = item.shape.rank(); i-- > 0;) {  // innermost first
      Put(static_cast<uint64_t>(item.shape[i]));
    }
    Put(static_cast<uint32_t>(item.encoding->gguf_type));
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

Status CheckItem(const WriteItem& item, const std::string& where) {
  const std::string tensor =
      where + "tensor \"" + Printable(item.source->name) + "\" ";
  if (item.encoding->gguf_type < 0) {
    return Unsupported(tensor + "is " + std::string(item.encoding->name) +
                       ", which GGUF does not have");
  }
  if (item.shape.rank() < 1 || item.shape.rank() > 4 || item.bytes == 0) {
    return Unsupported(tensor + "has shape " + item.shape.ToString() +
                       ", GGUF has 1 to 4 dimensions, none of them empty");
  }
  return Status::Ok();
}

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

}  // namespace

Status WriteGguf(const std::string& path, const GgufEntries& metadata,
                 std::span<const NamedTensor> tensors) {
  const std::string where = "[gguf] " + path + ": ";
  ASSIGN_OR_RETURN(const std::vector<WriteItem> items,
                   ToWriteItems(tensors, where));
  ASSIGN_OR_RETURN(const uint64_t alignment, CheckMetadata(metadata, where));
  Header header;
  for (char c : {'G', 'G', 'U', 'F'}) header.Put(c);
  header.Put(kVersion);
  header.Put(static_cast<uint64_t>(items.size()));
  header.Put(static_cast<uint64_t>(metadata.size()));
  for (const auto& [key, value] : metadata) {
    header.Put(key);
    header.PutValue(value);
  }
  uint64_t offset = 0;
  for (const WriteItem& item : items) {
    RETURN_IF_ERROR(CheckItem(item, where));
    header.PutItem(item, offset);
    offset = *CheckedAlignUp(offset + item.bytes, alignment);
  }
  AtomicFile file(path, "gguf");
  RETURN_IF_ERROR(file.Open());
  RETURN_IF_ERROR(file.Write(header.text()));
  const uint64_t begin = header.text().size();
  RETURN_IF_ERROR(file.Zeros(*CheckedAlignUp(begin, alignment) - begin));
  for (const WriteItem& item : items) {
    RETURN_IF_ERROR(WriteValues(item, &file));
    RETURN_IF_ERROR(
        file.Zeros(*CheckedAlignUp(item.bytes, alignment) - item.bytes));
  }
  return file.Commit();
}

}  // namespace intarsia
