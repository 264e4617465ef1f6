// Reading safetensors: u64 header length, JSON header, data without holes.
#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "intarsia/checkpoint/block_storage.h"
#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/encoding.h"
#include "intarsia/checkpoint/foreign.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

constexpr char kMetadata[] = "__metadata__";
// As in the reference implementation; the longest known headers have 10 MB.
constexpr uint64_t kMaxHeader = 100'000'000;

// A tensor as the header describes it.
struct Entry {
  std::string name;
  const Encoding* encoding = nullptr;
  Shape shape;
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
    metadata->clear();
    ASSIGN_OR_RETURN(const std::string_view header, ReadHeader());
    const size_t first = header.find_first_not_of(" \t\r\n");
    const bool array = first != std::string_view::npos && header[first] == '[';
    const Status no_object =
        InvalidArgument(Where() + "header is not an object");
    JsonPart described{{kMetadata}};
    bool seen = false;
    std::vector<Entry> entries;
    // Entry by entry: a tree of all would take many times the header.
    RETURN_IF_ERROR(VisitJson(header, Where() + "header", {.depth = 4},
                              [&](std::string* name, Json* value) -> Status {
                                if (array) return no_object;
                                if (*name == kMetadata) {
                                  if (seen) return GivenTwice(*name);
                                  seen = true;
                                  return Status::Ok();
                                }
                                Entry entry;
                                entry.name = std::move(*name);
                                RETURN_IF_ERROR(ReadOffsets(*value, &entry));
                                RETURN_IF_ERROR(ReadShape(*value, &entry));
                                entries.push_back(std::move(entry));
                                return Status::Ok();
                              },
                              {&described, 1}));
    if (array) return no_object;
    if (seen) RETURN_IF_ERROR(ReadMetadata(described.text, metadata));
    std::ranges::sort(entries, {}, &Entry::name);
    const auto twice = std::ranges::adjacent_find(
        entries, std::ranges::equal_to(), &Entry::name);
    if (twice != entries.end()) return GivenTwice(twice->name);
    std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
      return std::tie(a.begin, a.end, a.name) <
             std::tie(b.begin, b.end, b.name);
    });
    RETURN_IF_ERROR(CheckCover(entries));
    storage_ = StorageOf(file_);
    table_->Reserve(entries.size());
    for (Entry& entry : entries) RETURN_IF_ERROR(Add(&entry, *metadata));
    return Status::Ok();
  }

 private:
  std::string Where() const { return "[safetensors] " + file_->path() + ": "; }
  std::string Where(const std::string& name) const {
    return Where() + "tensor \"" + Printable(name) + "\" ";
  }
  Status GivenTwice(const std::string& name) const {
    return InvalidArgument(Where() + "header gives \"" + Printable(name) +
                           "\" twice");
  }

  Result<std::string_view> ReadHeader() {
    const std::string_view text = file_->text();
    // Where the bytes are no safetensors at all, what they are instead.
    const bool object = text.size() > 8 && text[8] == '{';
    const std::string kind = object ? std::string() : NotWeights(text);
    if (!kind.empty() && !kind.starts_with("is a safetensors")) {
      const bool remedy = kind.find(':') != std::string::npos;
      return InvalidArgument(Where() + kind +
                             (remedy ? "" : ", not a safetensors file"));
    }
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
      return DataLoss(Where() + "truncated: header claims " +
                      std::to_string(length) + " bytes, the file has " +
                      std::to_string(file_->size() - 8) + " after its length");
    }
    data_begin_ = 8 + length;
    return text.substr(8, length);
  }

  Status ReadMetadata(std::string_view text,
                      std::map<std::string, std::string>* metadata) const {
    if (!text.starts_with('{')) {
      return InvalidArgument(Where() + "__metadata__ is not an object");
    }
    return VisitJson(
        text, Where() + "__metadata__", {.depth = 4},
        [&](std::string* name, Json* value) -> Status {
          if (!value->is_string()) {
            return InvalidArgument(Where() + "__metadata__ \"" +
                                   Printable(*name) + "\" is not a string");
          }
          auto& content = value->get_ref<std::string&>();
          const auto [at, fresh] =
              metadata->emplace(std::move(*name), std::move(content));
          return fresh ? Status::Ok() : GivenTwice(at->first);
        });
  }

  Status ReadOffsets(const Json& value, Entry* entry) const {
    const std::string where = Where(entry->name);
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
                      " of the data, the file has " + std::to_string(data) +
                      ": it is truncated");
    }
    entry->begin = *begin;
    entry->end = *end;
    return Status::Ok();
  }

  Status ReadShape(const Json& value, Entry* entry) const {
    const std::string where = Where(entry->name);
    const auto dtype = value.find("dtype");
    if (dtype == value.end() || !dtype->is_string()) {
      return InvalidArgument(where + "has no dtype");
    }
    entry->encoding =
        FindSafetensorsEncoding(dtype->get_ref<const std::string&>());
    if (entry->encoding == nullptr) {
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
    uint64_t bytes = 0;
    if (Status s = CheckLayout(*entry->encoding, dims, &entry->shape, &bytes);
        !s.ok()) {
      return {s.code(), where + Printable(shape->dump()) + ": " + s.message()};
    }
    if (bytes != entry->end - entry->begin) {
      return InvalidArgument(where + std::string(entry->encoding->name) + " " +
                             entry->shape.ToString() + " has " +
                             std::to_string(bytes) +
                             " bytes, its data_offsets span " +
                             std::to_string(entry->end - entry->begin));
    }
    return Status::Ok();
  }

  // The format has neither overlaps nor holes nor bytes past the last tensor.
  Status CheckCover(const std::vector<Entry>& entries) const {
    uint64_t end = 0;
    for (size_t i = 0; i < entries.size(); ++i) {
      const Entry& entry = entries[i];
      if (entry.begin < end) {
        return InvalidArgument(Where(entry.name) + "overlaps tensor \"" +
                               Printable(entries[i - 1].name) + "\"");
      }
      if (entry.begin > end) {
        return InvalidArgument(Where(entry.name) + "begins at byte " +
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

  Status Add(Entry* entry, const std::map<std::string, std::string>& metadata) {
    StoredTensor tensor;
    tensor.name = std::move(entry->name);
    tensor.shape = entry->shape;
    tensor.encoding = entry->encoding->name;
    tensor.file = file_;
    if (Status s = RestoreBlocks(metadata, &tensor); !s.ok()) {
      return {s.code(), Where(tensor.name) + s.message()};
    }
    const auto bytes = static_cast<int64_t>(entry->end - entry->begin);
    tensor.bytes =
        Tensor::Wrap(storage_, data_begin_ + entry->begin, {bytes}, DType::kU8);
    return table_->Add(std::move(tensor));
  }

  std::shared_ptr<const MappedFile> file_;
  TensorTable* table_;
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
