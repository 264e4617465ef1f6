#include <algorithm>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr int64_t kNumbers = 256;
constexpr size_t kBytes =
    128 + 64 + 16 + 2;  // low halves, high pairs, scales, d
constexpr CodeSet kCodes = {.lo = -32, .hi = 31};

void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  float w[kNumbers];
  ScaledBlock block;
  ErrorCosts(x, importance, kNumbers, w);
  FitScaledBlock(kCodes, 16, -128, 127, x, w, &block);
  std::fill_n(out, kBytes, std::byte{0});
  for (int i = 0; i < kNumbers; ++i) {
    const int code = block.codes[i] + 32, half = i / 128, quarter = i / 32 % 4;
    out[half * 64 + quarter % 2 * 32 + i % 32] |=
        static_cast<std::byte>((code & 15) << (quarter / 2 * 4));
    out[128 + half * 32 + i % 32] |=
        static_cast<std::byte>((code >> 4) << (quarter * 2));
  }
  for (int g = 0; g < 16; ++g) {
    out[192 + g] = static_cast<std::byte>(block.scales[g]);
  }
  StoreF16(block.d, out + 208);
}

constexpr BlockTraits kTraits = {
    .name = "q6_k",
    .numbers = kNumbers,
    .bytes = kBytes,
    .dot = &q6_k_cpu::Dot,
    .dequantize = &q6_k_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 208>,
    .packed = &Path<q6_k_cpu::PanelsAvx512, q6_k_cpu::PanelsAvx2>};

}  // namespace

const Format& q6_k() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
