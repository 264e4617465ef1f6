#include "intarsia/families/fp8_blocks.h"

#include <cmath>
#include <cstring>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

constexpr int64_t kBlock = 128;
constexpr size_t kScale = sizeof(float);

int64_t Blocks(int64_t n) { return (n + kBlock - 1) / kBlock; }

}  // namespace

bool IsFp8Blocks(const Checkpoint& checkpoint, const StoredTensor& weight) {
  return weight.encoding == "f8_e4m3" &&
         checkpoint.Find(weight.name + kFp8ScaleSuffix) != nullptr;
}

bool IsFp8Scale(const Checkpoint& checkpoint, const std::string& name) {
  if (!name.ends_with(kFp8ScaleSuffix)) return false;
  const StoredTensor* weight = checkpoint.Find(
      name.substr(0, name.size() + 1 - sizeof(kFp8ScaleSuffix)));
  return weight != nullptr && weight->encoding == "f8_e4m3";
}

Result<StoredTensor> PackFp8Blocks(const Checkpoint& checkpoint,
                                   const StoredTensor& weight) {
  const StoredTensor& scales = *checkpoint.Find(weight.name + kFp8ScaleSuffix);
  const std::string where = "[load] " + weight.file->path() + ": tensor " +
                            Printable(weight.name) + " ";
  const int rank = weight.shape.rank();
  if (rank < 2 || weight.shape[-1] % kBlock != 0) {
    return Unsupported(where + weight.shape.ToString() +
                       " of FP8 does not have rows of whole blocks of 128");
  }
  const int64_t n = weight.shape[-2], k = weight.shape[-1];
  const Shape wanted =
      weight.shape.With(rank - 2, Blocks(n)).With(rank - 1, Blocks(k));
  if (scales.encoding != "f32" || !(scales.shape == wanted)) {
    return Unsupported(where + "needs scales f32 " + wanted.ToString() +
                       " for blocks of 128 x 128, " + Printable(scales.name) +
                       " is " + scales.encoding + " " +
                       scales.shape.ToString());
  }
  const int64_t blocks = Blocks(k), rows = weight.shape.numel() / k;
  const size_t row_bytes = blocks * (kScale + kBlock);
  StoredTensor packed = weight;
  packed.encoding = "f8_e4m3_128";
  packed.bytes =
      Tensor::Empty({static_cast<int64_t>(rows * row_bytes)}, DType::kU8);
  std::byte* out = packed.bytes.mutable_raw();
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t matrix = r / n, band = r % n / kBlock;
    const std::byte* scale =
        scales.bytes.raw() + (matrix * Blocks(n) + band) * blocks * kScale;
    const std::byte* codes = weight.bytes.raw() + r * k;
    for (int64_t b = 0; b < blocks; ++b, out += kScale + kBlock) {
      if (!std::isfinite(LoadUnaligned<float>(scale + b * kScale))) {
        return DataLoss(where + "has a scale that is not finite");
      }
      std::memcpy(out, scale + b * kScale, kScale);
      std::memcpy(out + kScale, codes + b * kBlock, kBlock);
    }
  }
  return packed;
}

}  // namespace intarsia
