// Writing checkpoints. Every file is written beside its place and moved there
// when it is complete (atomic_file.h), so that a reader never sees half a file
// and a mapped old one stays valid. Tensors of a device are copied to the host
// one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/core/tensor.h"

namespace intarsia {

class FileSet;

struct NamedTensor {
  std::string name;
  Tensor tensor;
  // Block types: `tensor` is u8 with all bytes, and these say what they are
  // (encoding.h). Left empty for plain tensors, which have their own.
  std::string encoding = {};
  Shape shape = {};
};

// A tensor that is made when its turn to be written comes, so that a file may
// be larger than memory.
struct LazyTensor {
  std::string name;
  std::string encoding;  // encoding.h; plain types too
  Shape shape;
  std::function<Result<Tensor>()> values;  // all bytes, of any dtype
};

using SafetensorsMetadata = std::map<std::string, std::string>;

// One file. Block types become U8 and an entry of the metadata, which Open
// understands (block_storage.h). Duplicate names are InvalidArgument.
Status WriteSafetensors(const std::string& path,
                        std::span<const NamedTensor> tensors,
                        const SafetensorsMetadata& metadata = {});

// model.safetensors in `folder`, or, where that would pass `max_shard_bytes`,
// model-00001-of-0000N.safetensors and model.safetensors.index.json. A tensor
// is never cut, so that a shard can be as large as one tensor. Removes the
// model.safetensors or index that the new one replaces.
Status WriteSafetensorsSharded(const std::string& folder,
                               std::span<const NamedTensor> tensors,
                               uint64_t max_shard_bytes,
                               const SafetensorsMetadata& metadata = {});
Status WriteSafetensorsSharded(const std::string& folder,
                               std::span<const LazyTensor> tensors,
                               uint64_t max_shard_bytes,
                               const SafetensorsMetadata& metadata = {});

// The same files, written and added to a set whose Commit puts them in place;
// the last one added is the entry of the folder's weights. For folders with
// more than tensors, whose files go in before.
Status AddSafetensors(const std::string& folder,
                      std::span<const LazyTensor> tensors,
                      uint64_t max_shard_bytes,
                      const SafetensorsMetadata& metadata, FileSet* files);

using GgufValue = std::variant<
    uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
    std::string, uint64_t, int64_t, double, std::vector<uint8_t>,
    std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
    std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>,
    std::vector<bool>, std::vector<std::string>, std::vector<uint64_t>,
    std::vector<int64_t>, std::vector<double>>;
using GgufEntries = std::vector<std::pair<std::string, GgufValue>>;

// GGUF v3, in the order given, aligned to 32 bytes (or to the u32
// "general.alignment" of the metadata). Unsupported for types that GGUF lacks
// (u8) and for more than four dimensions.
Status WriteGguf(const std::string& path, const GgufEntries& metadata,
                 std::span<const NamedTensor> tensors);

// The same file, or, where its tensors would pass `max_part_bytes` (0: never),
// parts PATH-00001-of-0000N.gguf as llama.cpp splits them: the first has the
// metadata. A tensor is never cut. Returns the paths; none of them is there
// unless all are whole.
Result<std::vector<std::string>> WriteGgufParts(
    const std::string& path, const GgufEntries& metadata,
    std::span<const LazyTensor> tensors, uint64_t max_part_bytes);

}  // namespace intarsia
