#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/code_tables.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 2 + 16;  // scale, nibbles
constexpr CodeSet kCodes = {.table = kIq4Values};

void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  float w[kBlock];
  int8_t codes[kBlock];
  ErrorCosts(x, importance, kBlock, w);
  StoreF16(FitScale(kCodes, x, w, kBlock), out);
  NearestCodes(kCodes, x, w, kBlock, LoadF16(out), codes);
  for (int i = 0; i < 16; ++i) {
    out[2 + i] = static_cast<std::byte>(codes[i] | codes[i + 16] << 4);
  }
}

constexpr BlockTraits kTraits = {
    .name = "iq4_nl",
    .numbers = kBlock,
    .bytes = kBytes,
    .dot = &iq4_nl_cpu::Dot,
    .dequantize = &iq4_nl_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 0>,
    .packed = &Path<iq4_nl_cpu::PanelsAvx512, iq4_nl_cpu::PanelsAvx2>};

}  // namespace

const Format& iq4_nl() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
