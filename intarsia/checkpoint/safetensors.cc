// Reading safetensors: u64 header length, JSON header, data without holes.
#include <algorithm>
#include <optional>

#include "intarsia/checkpoint/block_storage.h"
#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/encoding.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// As in the reference implementation; the longest known headers have 10 MB.
constexpr uint64_t kMaxHeader = 100'000'000;

struct Entry {
  const std::string* name;
  const Json* value;
  uint64_t begin = 0;
  uint64_t end = 0;
};

std::optional<uint64_t> AsCount(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<uint64_t>();
}

class Reader {
 public:
  Reader(std::shared_ptr<const MappedFile> file, TensorTable* table)
      : file_(std::move(file)), table_(table) {}

  Status Run(std::map<std::string, std::string>* metadata) {
    RETURN_IF_ERROR(ReadHeader());
    RETURN_IF_ERROR(ReadMetadata(metadata));
    std::vector<Entry> entries;
    for (const auto& item : header_.items()) {
      if (item.key() == "__metadata__") continue;
      Entry entry{&item.key(), &item.value()};
      RETURN_IF_ERROR(ReadOffsets(&entry));
      entries.push_back(entry);
    }
    std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    RETURN_IF_ERROR(CheckCover(entries));
    storage_ = StorageOf(file_);
    for (const Entry& entry : entries) RETURN_IF_ERROR(Add(entry, *metadata));
    return Status::Ok();
  }

 private:
  std::string Where() const { return "[safetensors] " + file_->path() + ": "; }
  std::string Where(const std::string& name) const {
    return Where() + "tensor \"" + Printable(name) + "\" ";
  }

  Status ReadHeader() {
    if (file_->size() < 8) {
      return DataLoss(Where() + "truncated: " + std::to_string(file_->size()) +
                      " bytes, the header length alone has 8");
    }
    const auto length = LoadUnaligned<uint64_t>(file_->bytes().data());
    if (length > kMaxHeader) {
      return InvalidArgument(Where() + "header claims " +
                             std::to_string(length) + " bytes, at most " +
                             std::to_string(kMaxHeader) + " are read");
    }
    if (length > file_->size() - 8) {
      return DataLoss(Where() + "header claims " + std::to_string(length) +
                      " bytes, the file has " +
                      std::to_string(file_->size() - 8) + " after its length");
    }
    ASSIGN_OR_RETURN(header_, ParseJson(file_->text().substr(8, length),
                                        Where() + "header", {.depth = 4}));
    if (!header_.is_object()) {
      return InvalidArgument(Where() + "header is not an object");
    }
    data_begin_ = 8 + length;
    return Status::Ok();
  }

  Status ReadMetadata(std::map<std::string, std::string>* metadata) const {
    metadata->clear();
    const auto found = header_.find("__metadata__");
    if (found == header_.end()) return Status::Ok();
    if (!found->is_object()) {
      return InvalidArgument(Where() + "__metadata__ is not an object");
    }
    for (const auto& item : found->items()) {
      if (!item.value().is_string()) {
        return InvalidArgument(Where() + "__metadata__ \"" +
                               Printable(item.key()) + "\" is not a string");
      }
      (*metadata)[item.key()] = item.value().get<std::string>();
    }
    return Status::Ok();
  }

  Status ReadOffsets(Entry* entry) const {
    const Json& value = *entry->value;
    const std::string where = Where(*entry->name);
    if (!value.is_object()) {
      return InvalidArgument(where + "is not described by an object");
    }
    const auto offsets = value.find("data_offsets");
    if (offsets == value.end() || !offsets->is_array() ||
        offsets->size() != 2) {
      return InvalidArgument(where + "has no data_offsets [begin, end]");
    }
    const auto begin = AsCount((*offsets)[0]);
    const auto end = AsCount((*offsets)[1]);
    if (!begin || !end || *begin > *end) {
      return InvalidArgument(where + "has bad data_offsets " +
                             Printable(offsets->dump()));
    }
    const uint64_t data = file_->size() - data_begin_;
    if (*end > data) {
      return DataLoss(where + "ends at byte " + std::to_string(*end) +
                      " of the data, the file has " + std::to_string(data));
    }
    entry->begin = *begin;
    entry->end = *end;
    return Status::Ok();
  }

  // The format has neither overlaps nor holes nor bytes past the last tensor.
  Status CheckCover(const std::vector<Entry>& entries) const {
    uint64_t end = 0;
    for (size_t i = 0; i < entries.size(); ++i) {
      const Entry& entry = entries[i];
      if (entry.begin < end) {
        return InvalidArgument(Where(*entry.name) + "overlaps tensor \"" +
                               Printable(*entries[i - 1].name) + "\"");
      }
      if (entry.begin > end) {
        return InvalidArgument(Where(*entry.name) + "begins at byte " +
                               std::to_string(entry.begin) +
                               " of the data, after a hole from " +
                               std::to_string(end));
      }
      end = entry.end;
    }
    const uint64_t data = file_->size() - data_begin_;
    if (end != data) {
      return InvalidArgument(Where() + std::to_string(data - end) +
                             " bytes after the last tensor");
    }
    return Status::Ok();
  }

  Status Add(const Entry& entry,
             const std::map<std::string, std::string>& metadata) {
    const Json& value = *entry.value;
    const std::string where = Where(*entry.name);
    const auto dtype = value.find("dtype");
    if (dtype == value.end() || !dtype->is_string()) {
      return InvalidArgument(where + "has no dtype");
    }
    const Encoding* encoding =
        FindSafetensorsEncoding(dtype->get_ref<const std::string&>());
    if (encoding == nullptr) {
      return Unsupported(where + "has dtype " + Printable(dtype->dump()) +
                         ", which is not known");
    }
    const auto shape = value.find("shape");
    if (shape == value.end() || !shape->is_array()) {
      return InvalidArgument(where + "has no shape");
    }
    std::vector<uint64_t> dims;
    for (const Json& dim : *shape) {
      const auto count = AsCount(dim);
      if (!count) {
        return InvalidArgument(where + "has shape " + Printable(shape->dump()));
      }
      dims.push_back(*count);
      if (dims.size() > Shape::kMaxRank) break;  // CheckLayout refuses it
    }
    StoredTensor tensor;
    tensor.name = *entry.name;
    tensor.path = file_->path();
    uint64_t bytes = 0;
    if (Status s = CheckLayout(*encoding, dims, &tensor.shape, &bytes);
        !s.ok()) {
      return {s.code(), where + Printable(shape->dump()) + ": " + s.message()};
    }
    if (bytes != entry.end - entry.begin) {
      return InvalidArgument(
          where + std::string(encoding->name) + " " + tensor.shape.ToString() +
          " has " + std::to_string(bytes) + " bytes, its data_offsets span " +
          std::to_string(entry.end - entry.begin));
    }
    tensor.encoding = encoding->name;
    if (Status s = RestoreBlocks(metadata, &tensor); !s.ok()) {
      return {s.code(), where + s.message()};
    }
    tensor.bytes = Tensor::Wrap(storage_, data_begin_ + entry.begin,
                                {static_cast<int64_t>(bytes)}, DType::kU8);
    return table_->Add(std::move(tensor));
  }

  std::shared_ptr<const MappedFile> file_;
  TensorTable* table_;
  Json header_;
  uint64_t data_begin_ = 0;
  std::shared_ptr<Storage> storage_;
};

}  // namespace

Status ReadSafetensors(std::shared_ptr<const MappedFile> file,
                       TensorTable* table,
                       std::map<std::string, std::string>* metadata) {
  return Reader(std::move(file), table).Run(metadata);
}

}  // namespace intarsia
