#include "intarsia/checkpoint/block_storage.h"

#include <vector>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/encoding.h"

namespace intarsia {

Status RestoreBlocks(const std::map<std::string, std::string>& metadata,
                     StoredTensor* tensor) {
  const auto found = metadata.find(kBlockEncodingPrefix + tensor->name);
  if (found == metadata.end()) return Status::Ok();
  const Encoding* encoding = FindEncoding(found->second);
  if (encoding == nullptr || encoding->plain()) {
    return Unsupported("has encoding \"" + Printable(found->second) +
                       "\", which is not a known block type");
  }
  const Shape& stored = tensor->shape;
  if (tensor->encoding != "u8" || stored.rank() == 0 ||
      stored[-1] % encoding->bytes != 0) {
    return InvalidArgument("holds " + tensor->encoding + " " +
                           stored.ToString() + ", not rows of " +
                           found->second + " blocks");
  }
  std::vector<uint64_t> dims(stored.dims().begin(), stored.dims().end());
  const auto row = CheckedMul(dims.back() / encoding->bytes, encoding->block);
  if (!row) return InvalidArgument("has rows that are too long");
  dims.back() = *row;
  uint64_t bytes = 0;
  RETURN_IF_ERROR(CheckLayout(*encoding, dims, &tensor->shape, &bytes));
  tensor->encoding = encoding->name;
  return Status::Ok();
}

}  // namespace intarsia
