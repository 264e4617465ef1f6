#include <algorithm>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 2 + 16;  // scale, nibbles

// The code that counts as 0 is 8.
constexpr CodeSet kCodes = {.lo = -8, .hi = 7};

// The value of largest magnitude, with its sign, becomes code 0 (that is -8);
// with an importance matrix this is where the search for a scale begins.
void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  float largest = 0;
  for (int64_t i = 0; i < kBlock; ++i) {
    if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
  }
  const float d = largest / -8.0f, inverse = Inverse(d);
  if (importance != nullptr) {
    float w[kBlock];
    int8_t codes[kBlock];
    ErrorCosts(x, importance, kBlock, w);
    const float scale = FitStoredScale(kCodes, x, w, kBlock, d);
    NearestCodes(kCodes, x, w, kBlock, scale, codes);
    StoreF16(scale, out);
    for (int64_t i = 0; i < kBlock / 2; ++i) {
      const int lo = codes[i] + 8, hi = codes[i + kBlock / 2] + 8;
      out[2 + i] = static_cast<std::byte>(lo | hi << 4);
    }
    return;
  }
  StoreF16(d, out);
  for (int64_t i = 0; i < kBlock / 2; ++i) {
    const int lo = Truncate(x[i] * inverse + 8.5f, 0, 15);
    const int hi = Truncate(x[i + kBlock / 2] * inverse + 8.5f, 0, 15);
    out[2 + i] = static_cast<std::byte>(lo | hi << 4);
  }
}

constexpr BlockTraits kTraits = {
    .name = "q4_0",
    .numbers = kBlock,
    .bytes = kBytes,
    .dot = &q4_0_cpu::Dot,
    .dequantize = &q4_0_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 0>,
    .packed = &Path<q4_0_cpu::PanelsAvx512, q4_0_cpu::PanelsAvx2>,
    .stored = &Path<q4_0_cpu::StoredAvx512, q4_0_cpu::PanelsAvx2>};

}  // namespace

const Format& q4_0() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
