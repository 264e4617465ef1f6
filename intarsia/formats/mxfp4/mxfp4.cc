#include <algorithm>
#include <cmath>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/mxfp4/e8m0.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 1 + 16;  // E8M0, nibbles
// E2M1 times two in rising order (with a second zero), and the code of each.
constexpr int8_t kRising[16] = {-12, -8, -6, -4, -3, -2, -1, 0,
                                0,   1,  2,  3,  4,  6,  8,  12};
constexpr int kCodeOfRising[16] = {15, 14, 13, 12, 11, 10, 9, 0,
                                   0,  1,  2,  3,  4,  5,  6, 7};
constexpr CodeSet kCodes = {.table = kRising};

void Poison(std::byte* out) {
  std::fill_n(out, kBytes, std::byte{0});
  out[0] = std::byte{0xFF};
}

// OCP's specification takes the exponent of the largest number less that of
// E2M1's; here that scale or one beside it, by the error.
void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  float w[kBlock], largest = 0;
  for (int64_t i = 0; i < kBlock; ++i) {
    largest = std::max(largest, std::abs(x[i]));
  }
  ErrorCosts(x, importance, kBlock, w);
  int exponent = 0;
  std::frexp(largest, &exponent);  // largest in [2^(exponent - 1), 2^exponent)
  const int usual = largest > 0 ? exponent - 1 - 2 + 127 : 0;
  const int low = std::clamp(usual - 1, 0, 254);
  const int high = std::clamp(usual + 1, 0, 254);
  int8_t codes[kBlock], tried[kBlock];
  float least = INFINITY;
  for (int e = low; e <= high; ++e) {
    const uint8_t byte = static_cast<uint8_t>(e);
    const float error =
        NearestCodes(kCodes, x, w, kBlock, HalfOfE8M0(byte), tried);
    if (e > low && !(error < least)) continue;
    least = error;
    out[0] = std::byte{byte};
    std::copy_n(tried, kBlock, codes);
  }
  for (int i = 0; i < 16; ++i) {
    out[1 + i] = static_cast<std::byte>(kCodeOfRising[codes[i]] |
                                        kCodeOfRising[codes[i + 16]] << 4);
  }
}

constexpr BlockTraits kTraits = {
    .name = "mxfp4",
    .numbers = kBlock,
    .bytes = kBytes,
    .dot = &mxfp4_cpu::Dot,
    .dequantize = &mxfp4_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &Poison,
    .packed = &Path<mxfp4_cpu::PanelsAvx512, mxfp4_cpu::PanelsAvx2>};

}  // namespace

const Format& mxfp4() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
