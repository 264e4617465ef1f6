// FP8 matrices with scales of 128 x 128, as DeepSeek-V3's files hold them:
// every number against the table of E4M3 times its block's scale.
#include "intarsia/families/fp8_blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/core/thread_pool.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

// By the definition: bias 7, three bits of mantissa.
double E4M3(int code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double size = exponent == 0
                          ? std::ldexp(mantissa / 8.0, -6)
                          : std::ldexp(1 + mantissa / 8.0, exponent - 7);
  return code & 0x80 ? -size : size;
}

std::unique_ptr<Checkpoint> Write(const TempFolder& folder, const Shape& shape,
                                  const std::vector<uint8_t>& codes,
                                  const std::vector<float>& scales,
                                  const Shape& scale_shape) {
  const std::vector<NamedTensor> tensors = {
      {.name = "w.weight",
       .tensor = Tensor::From(codes, {shape.numel()}),
       .encoding = "f8_e4m3",
       .shape = shape},
      {.name = "w.weight_scale_inv",
       .tensor = Tensor::From(scales, scale_shape)}};
  EXPECT_TRUE(WriteSafetensors(folder / "m.safetensors", tensors).ok());
  auto file = Checkpoint::Open(folder / "m.safetensors");
  EXPECT_TRUE(file.ok()) << file.status().message();
  return std::move(*file);
}

TEST(Fp8BlocksTest, EveryNumberHasItsBlocksScale) {
  const TempFolder folder;
  const int64_t n = 200, k = 384;  // the second band of rows is not whole
  std::vector<uint8_t> codes(n * k);
  for (int64_t i = 0; i < n * k; ++i) {
    codes[i] = static_cast<uint8_t>(i * 37 % 256);
    if ((codes[i] & 0x7F) == 0x7F) codes[i] = 1;
  }
  const std::vector<float> scales = {1, 0.5f, 0.25f, 3, 1e-3f, 0.7f};
  const auto file = Write(folder, {n, k}, codes, scales, {2, 3});
  const StoredTensor& weight = *file->Find("w.weight");
  ASSERT_TRUE(IsFp8Blocks(*file, weight));
  EXPECT_TRUE(IsFp8Scale(*file, "w.weight_scale_inv"));
  EXPECT_FALSE(IsFp8Scale(*file, "w.weight"));
  const auto packed = PackFp8Blocks(*file, weight);
  ASSERT_TRUE(packed.ok()) << packed.status().message();
  EXPECT_TRUE(packed->ValidateBlocks().ok());
  const Format& format = *FindFormat(packed->encoding);
  std::vector<float> row(k);
  for (int64_t r = 0; r < n; ++r) {
    format.DequantizeRow(packed->bytes.raw() + r * format.row_bytes(k),
                         row.data(), k);
    for (int64_t i = 0; i < k; ++i) {
      const float scale = scales[r / 128 * 3 + i / 128];
      const float want = static_cast<float>(E4M3(codes[r * k + i])) * scale;
      ASSERT_EQ(row[i], want) << r << " " << i;
    }
  }
}

TEST(Fp8BlocksTest, RefusesWhatItCannotRead) {
  const std::vector<uint8_t> codes(128 * 256, 0x38);
  const auto message = [&](const Shape& shape, const std::vector<float>& scales,
                           const Shape& scale_shape) {
    const TempFolder folder;
    const auto file = Write(folder, shape, codes, scales, scale_shape);
    const auto packed = PackFp8Blocks(*file, *file->Find("w.weight"));
    EXPECT_FALSE(packed.ok());
    return packed.status().message();
  };
  EXPECT_NE(message({128, 256}, {1}, {1, 1}).find("128 x 128"),
            std::string::npos);
  EXPECT_NE(message({512, 64}, {1}, {1, 1}).find("whole blocks"),
            std::string::npos);
  EXPECT_NE(message({128, 256}, {1, INFINITY}, {1, 2}).find("not finite"),
            std::string::npos);
}

}  // namespace
}  // namespace intarsia
