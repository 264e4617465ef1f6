#include <algorithm>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 4 + 16;  // scale, minimum, nibbles

// From the least to the largest number; with an importance matrix this is where
// the search begins.
void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  const auto [low, high] = std::minmax_element(x, x + kBlock);
  const float m = *low, d = (*high - m) / 15.0f, inverse = Inverse(d);
  if (importance != nullptr) {
    float w[kBlock];
    int8_t codes[kBlock];
    ErrorCosts(x, importance, kBlock, w);
    const LinearFit fit = FitStoredLinear(15, x, w, kBlock, {d, m});
    NearestCodes(15, x, w, kBlock, fit, codes);
    StoreF16(fit.scale, out);
    StoreF16(fit.minimum, out + 2);
    for (int64_t i = 0; i < kBlock / 2; ++i) {
      out[4 + i] =
          static_cast<std::byte>(codes[i] | codes[i + kBlock / 2] << 4);
    }
    return;
  }
  StoreF16(d, out);
  StoreF16(m, out + 2);
  for (int64_t i = 0; i < kBlock / 2; ++i) {
    const int lo = Truncate((x[i] - m) * inverse + 0.5f, 0, 15);
    const int hi = Truncate((x[i + kBlock / 2] - m) * inverse + 0.5f, 0, 15);
    out[4 + i] = static_cast<std::byte>(lo | hi << 4);
  }
}

constexpr BlockTraits kTraits = {
    .name = "q4_1",
    .numbers = kBlock,
    .bytes = kBytes,
    .dot = &q4_1_cpu::Dot,
    .dequantize = &q4_1_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 0>,
    .packed = &Path<q4_1_cpu::PanelsAvx512, q4_1_cpu::PanelsAvx2>,
    .stored = &Path<q4_1_cpu::StoredAvx512, q4_1_cpu::PanelsAvx2>};

}  // namespace

const Format& q4_1() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
