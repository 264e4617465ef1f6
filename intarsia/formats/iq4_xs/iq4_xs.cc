#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/code_tables.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/iq4_xs/iq4_xs_scales.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr int64_t kNumbers = 256;
constexpr size_t kBytes = 2 + 2 + 4 + 128;  // d, scales, codes
constexpr CodeSet kCodes = {.table = kIq4Values};

void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  float w[kNumbers];
  ScaledBlock block;
  ErrorCosts(x, importance, kNumbers, w);
  FitScaledBlock(kCodes, 32, -32, 31, x, w, &block);
  StoreF16(block.d, out);
  PackIq4XsScales(block.scales, reinterpret_cast<uint8_t*>(out + 2));
  for (int i = 0; i < 128; ++i) {
    const int8_t* codes = block.codes + i / 16 * 32 + i % 16;
    out[8 + i] = static_cast<std::byte>(codes[0] | codes[16] << 4);
  }
}

constexpr BlockTraits kTraits = {
    .name = "iq4_xs",
    .numbers = kNumbers,
    .bytes = kBytes,
    .dot = &iq4_xs_cpu::Dot,
    .dequantize = &iq4_xs_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 0>,
    .packed = &Path<iq4_xs_cpu::PanelsAvx512, iq4_xs_cpu::PanelsAvx2>};

}  // namespace

const Format& iq4_xs() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
