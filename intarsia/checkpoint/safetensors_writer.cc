// Writing safetensors: tensors in order of falling alignment, so that each is
// aligned; data begin at a multiple of 64.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/block_storage.h"
#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/write_item.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr uint64_t kDataAlignment = 64;

// The largest power of two that every element's size is a multiple of.
uint64_t Alignment(const Encoding& encoding) {
  return encoding.plain() ? encoding.bytes & (~encoding.bytes + 1) : 1;
}

// The header's text, padded so that data are aligned.
Result<std::string> Header(const std::vector<WriteItem>& items,
                           const SafetensorsMetadata& metadata,
                           const std::string& where) {
  Json header = Json::object();
  Json extra(metadata);
  uint64_t offset = 0;
  for (const WriteItem& item : items) {
    const std::string& name = item.source->name;
    if (name == "__metadata__") {
      return InvalidArgument(where + "no tensor can be called __metadata__");
    }
    Json shape = Json::array();
    for (int64_t d : item.shape.dims()) shape.push_back(d);
    std::string dtype(item.encoding->st_dtype);
    if (dtype.empty()) {
      if (item.encoding->plain()) {
        return Unsupported(where + "tensor \"" + Printable(name) +
                           "\": safetensors has no " +
                           std::string(item.encoding->name));
      }
      dtype = "U8";
      shape.back() =
          item.shape[-1] / item.encoding->block * item.encoding->bytes;
      extra[kBlockEncodingPrefix + name] = item.encoding->name;
    }
    header[name] = {{"dtype", std::move(dtype)},
                    {"shape", std::move(shape)},
                    {"data_offsets", {offset, offset + item.bytes}}};
    offset += item.bytes;
  }
  if (!extra.empty()) header["__metadata__"] = std::move(extra);
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception&) {  // metadata that is not UTF-8
    return InvalidArgument(where + "metadata must be UTF-8");
  }
  const uint64_t end = *CheckedAlignUp(8 + text.size(), kDataAlignment);
  text.append(end - 8 - text.size(), ' ');
  return text;
}

// All of the file but its move to its name.
Status WriteItems(const std::string& path, std::vector<WriteItem> items,
                  const SafetensorsMetadata& metadata, FileSet* files) {
  std::ranges::stable_sort(items, [](const WriteItem& a, const WriteItem& b) {
    return Alignment(*a.encoding) > Alignment(*b.encoding);
  });
  const std::string where = "[safetensors] " + path + ": ";
  ASSIGN_OR_RETURN(const std::string header, Header(items, metadata, where));
  AtomicFile& file = files->Add(path, "safetensors");
  RETURN_IF_ERROR(file.Open());
  const uint64_t length = header.size();
  RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(&length, 1))));
  RETURN_IF_ERROR(file.Write(header));
  for (const WriteItem& item : items) {
    RETURN_IF_ERROR(WriteValues(item, where, &file));
  }
  return file.Finish();
}

std::string ShardName(size_t index, size_t count) {
  auto five = [](size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits;
  };
  return "model-" + five(index + 1) + "-of-" + five(count) + ".safetensors";
}

}  // namespace

Status WriteSafetensors(const std::string& path,
                        std::span<const NamedTensor> tensors,
                        const SafetensorsMetadata& metadata) {
  const std::vector<LazyTensor> lazy = Lazily(tensors);
  ASSIGN_OR_RETURN(std::vector<WriteItem> items,
                   ToWriteItems(lazy, "[safetensors] " + path + ": "));
  FileSet files;
  RETURN_IF_ERROR(WriteItems(path, std::move(items), metadata, &files));
  return files.Commit();
}

Status AddSafetensors(const std::string& folder,
                      std::span<const LazyTensor> tensors,
                      uint64_t max_shard_bytes,
                      const SafetensorsMetadata& metadata, FileSet* files) {
  ASSIGN_OR_RETURN(std::vector<WriteItem> items,
                   ToWriteItems(tensors, "[safetensors] " + folder + ": "));
  std::vector<std::vector<WriteItem>> shards(1);
  uint64_t in_shard = 0, total = 0;
  for (const WriteItem& item : items) {
    if (!shards.back().empty() && in_shard + item.bytes > max_shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(item);
    in_shard += item.bytes;
    total += item.bytes;
  }
  const fs::path dir(folder);
  const fs::path whole = dir / "model.safetensors";
  const fs::path index_path = dir / "model.safetensors.index.json";
  if (shards.size() == 1) {
    files->Remove(index_path.string());
    return WriteItems(whole.string(), std::move(shards[0]), metadata, files);
  }
  Json index = {{"metadata", {{"total_size", total}}},
                {"weight_map", Json::object()}};
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = ShardName(i, shards.size());
    for (const WriteItem& item : shards[i]) {
      index["weight_map"][item.source->name] = name;
    }
    RETURN_IF_ERROR(WriteItems((dir / name).string(), std::move(shards[i]),
                               metadata, files));
  }
  files->Remove(whole.string());  // readers would prefer it to the index
  AtomicFile& file = files->Add(index_path.string(), "safetensors");
  RETURN_IF_ERROR(file.Open());
  RETURN_IF_ERROR(file.Write(index.dump(2) + "\n"));
  return file.Finish();
}

Status WriteSafetensorsSharded(const std::string& folder,
                               std::span<const LazyTensor> tensors,
                               uint64_t max_shard_bytes,
                               const SafetensorsMetadata& metadata) {
  FileSet files;
  RETURN_IF_ERROR(
      AddSafetensors(folder, tensors, max_shard_bytes, metadata, &files));
  return files.Commit();
}

Status WriteSafetensorsSharded(const std::string& folder,
                               std::span<const NamedTensor> tensors,
                               uint64_t max_shard_bytes,
                               const SafetensorsMetadata& metadata) {
  const std::vector<LazyTensor> lazy = Lazily(tensors);
  return WriteSafetensorsSharded(folder, lazy, max_shard_bytes, metadata);
}

}  // namespace intarsia
