#include "intarsia/convert/imatrix.h"

#include <algorithm>
#include <cmath>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/foreign.h"

namespace intarsia {
namespace {

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";
constexpr int64_t kMaxName = 4096;

std::string Where(const MappedFile& file) {
  return "[imatrix] " + file.path() + ": ";
}

std::string At(const ByteReader& in, const MappedFile& file) {
  return " (at byte " + std::to_string(in.offset()) + " of " +
         std::to_string(file.size()) + ")";
}

}  // namespace

Result<ImportanceMatrix> ImportanceMatrix::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file,
                   MappedFile::Open(path));
  return Read(std::move(file));
}

Result<ImportanceMatrix> ImportanceMatrix::Read(
    std::shared_ptr<const MappedFile> file) {
  ImportanceMatrix matrix;
  const std::string where = Where(*file);
  const bool gguf = file->text().starts_with("GGUF");
  RETURN_IF_ERROR(gguf ? matrix.ReadGgufForm(file) : matrix.ReadOldForm(*file));
  if (matrix.values_.empty()) {
    return InvalidArgument(where + "holds no importance of any tensor");
  }
  return matrix;
}

const std::vector<float>& ImportanceMatrix::Of(
    const std::string& tensor) const {
  static const auto* none = new std::vector<float>;
  const auto found = values_.find(tensor);
  return found == values_.end() ? *none : found->second;
}

Status ImportanceMatrix::Add(const std::string& where, std::string name,
                             std::vector<float> values) {
  const std::string tensor = "tensor \"" + Printable(name) + "\" ";
  for (const float x : values) {
    if (!std::isfinite(x) || x < 0) {
      return InvalidArgument(where + tensor +
                             "has an importance that is negative or not "
                             "finite");
    }
  }
  if (!values_.emplace(std::move(name), std::move(values)).second) {
    return InvalidArgument(where + tensor + "is there twice");
  }
  return Status::Ok();
}

// [experts, K] sums of squares and [experts, 1] counts of rows.
Status ImportanceMatrix::ReadGgufForm(std::shared_ptr<const MappedFile> file) {
  const std::string where = Where(*file);
  TensorTable table;
  std::unique_ptr<GgufMetadata> metadata;
  RETURN_IF_ERROR(ReadGguf(std::move(file), &table, &metadata));
  for (const StoredTensor& sums : table.tensors()) {
    if (!sums.name.ends_with(kSums)) continue;
    const std::string name =
        sums.name.substr(0, sums.name.size() - kSums.size());
    const StoredTensor* counts = table.Find(name + std::string(kCounts));
    const std::string what = where + "tensor \"" + Printable(sums.name) + "\" ";
    if (counts == nullptr || sums.encoding != "f32" ||
        counts->encoding != "f32") {
      return InvalidArgument(what + "is not f32, or has no f32 counts");
    }
    const int64_t experts = counts->shape.numel();
    const int64_t all = sums.shape.numel();
    if (experts == 0 || all % experts != 0) {
      return InvalidArgument(what + "does not divide into " +
                             std::to_string(experts) + " counts");
    }
    std::vector<float> values(all);
    for (int64_t i = 0; i < all; ++i) {
      const float sum = LoadUnaligned<float>(sums.bytes.raw() + 4 * i);
      const float count =
          LoadUnaligned<float>(counts->bytes.raw() + 4 * (i / (all / experts)));
      // An expert that no row met: all its inputs count alike.
      values[i] = count > 0 ? sum / count : 1.0f;
    }
    RETURN_IF_ERROR(Add(where, name, std::move(values)));
  }
  return Status::Ok();
}

// i32 tensors, then of each: i32 length, name, i32 calls, i32 values, fp32 sums
// of means. What follows (the text's name) says nothing of use.
Status ImportanceMatrix::ReadOldForm(const MappedFile& file) {
  const std::string where = Where(file);
  ByteReader in(file.bytes());
  const auto count = in.Read<int32_t>();
  if (!in.ok() || count < 1 || count > 1 << 20) {
    const std::string kind = NotWeights(file.text());
    return InvalidArgument(where + (kind.empty() ? "" : kind + "; it ") +
                           "is no importance matrix");
  }
  // The first entry tells a text or an archive from a matrix.
  const std::string kind = ForeignFile(file.text());
  if (!kind.empty()) return InvalidArgument(where + kind);
  for (int32_t i = 0; i < count; ++i) {
    const auto length = in.Read<int32_t>();
    if (!in.ok() || length < 1 || length > kMaxName) {
      return InvalidArgument(where + "entry " + std::to_string(i) +
                             " is cut off or has a name of " +
                             std::to_string(length) + " bytes" + At(in, file));
    }
    const std::string name(AsText(in.Take(length)));
    const auto calls = in.Read<int32_t>();
    const auto size = in.Read<int32_t>();
    if (!in.ok() || size < 1 ||
        static_cast<uint64_t>(size) > in.remaining() / 4) {
      return DataLoss(where + "entry " + std::to_string(i) + " is cut off" +
                      At(in, file));
    }
    std::vector<float> values(size);
    for (float& x : values) {
      x = in.Read<float>() / static_cast<float>(std::max(calls, 1));
    }
    RETURN_IF_ERROR(Add(where, name, std::move(values)));
  }
  return Status::Ok();
}

}  // namespace intarsia
