#include <algorithm>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/q3_k/q3_k_scales.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr int64_t kNumbers = 256;
constexpr size_t kBytes = 32 + 64 + 12 + 2;  // third bits, codes, scales, d
constexpr CodeSet kCodes = {.lo = -4, .hi = 3};

void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  float w[kNumbers];
  ScaledBlock block;
  ErrorCosts(x, importance, kNumbers, w);
  FitScaledBlock(kCodes, 16, -32, 31, x, w, &block);
  std::fill_n(out, kBytes, std::byte{0});
  for (int i = 0; i < kNumbers; ++i) {
    const int code = block.codes[i] + 4, part = i / 32;
    out[32 + part / 4 * 32 + i % 32] |=
        static_cast<std::byte>((code & 3) << (part % 4 * 2));
    out[i % 32] |= static_cast<std::byte>((code >> 2) << part);
  }
  PackQ3KScales(block.scales, reinterpret_cast<uint8_t*>(out + 96));
  StoreF16(block.d, out + 108);
}

constexpr BlockTraits kTraits = {
    .name = "q3_k",
    .numbers = kNumbers,
    .bytes = kBytes,
    .dot = &q3_k_cpu::Dot,
    .dequantize = &q3_k_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 108>,
    .packed = &Path<q3_k_cpu::PanelsAvx512, q3_k_cpu::PanelsAvx2>};

}  // namespace

const Format& q3_k() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
