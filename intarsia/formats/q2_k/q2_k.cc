#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr int64_t kNumbers = 256;
constexpr size_t kBytes = 16 + 64 + 2 + 2;  // scales, codes, d, dmin

void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  float w[kNumbers];
  LinearBlock block;
  ErrorCosts(x, importance, kNumbers, w);
  FitLinearBlock(3, 16, 15, x, w, &block);
  for (int g = 0; g < 16; ++g) {
    out[g] = static_cast<std::byte>(block.scales[g] | block.minima[g] << 4);
  }
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 32; ++i) {
      const int8_t* codes = block.codes + half * 128 + i;
      out[16 + half * 32 + i] = static_cast<std::byte>(
          codes[0] | codes[32] << 2 | codes[64] << 4 | codes[96] << 6);
    }
  }
  StoreF16(block.d, out + 80);
  StoreF16(block.dmin, out + 82);
}

constexpr BlockTraits kTraits = {.name = "q2_k",
                                 .numbers = kNumbers,
                                 .bytes = kBytes,
                                 .dot = &q2_k_cpu::Dot,
                                 .dequantize = &q2_k_cpu::Dequantize,
                                 .quantize = &QuantizeBlock,
                                 .poison = &PoisonF16<kBytes, 80>};

}  // namespace

const Format& q2_k() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
