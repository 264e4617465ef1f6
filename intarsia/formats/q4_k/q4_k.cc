#include <algorithm>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/common/six_bit_scales.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr int64_t kNumbers = 256;
// d, dmin, scales and minima, codes.
constexpr size_t kBytes = 2 + 2 + 12 + 128;

void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  float w[kNumbers];
  LinearBlock block;
  ErrorCosts(x, importance, kNumbers, w);
  FitLinearBlock(15, 32, 63, x, w, &block);
  StoreF16(block.d, out);
  StoreF16(block.dmin, out + 2);
  PackSixBitScales(block.scales, block.minima,
                   reinterpret_cast<uint8_t*>(out + 4));
  std::fill_n(out + 16, kBytes - 16, std::byte{0});
  for (int i = 0; i < kNumbers; ++i) {
    const int code = block.codes[i], part = i / 32;
    out[16 + part / 2 * 32 + i % 32] |=
        static_cast<std::byte>((code & 15) << (part % 2 * 4));
  }
}

constexpr BlockTraits kTraits = {
    .name = "q4_k",
    .numbers = kNumbers,
    .bytes = kBytes,
    .dot = &q4_k_cpu::Dot,
    .dequantize = &q4_k_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 0>,
    .packed = &Path<q4_k_cpu::PanelsAvx512, q4_k_cpu::PanelsAvx2>};

}  // namespace

const Format& q4_k() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
