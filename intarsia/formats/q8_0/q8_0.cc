#include <algorithm>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 2 + 32;  // scale, codes

void QuantizeBlock(const float* x, const float*, std::byte* out) {
  float largest = 0;
  for (int64_t i = 0; i < kBlock; ++i) {
    largest = std::max(largest, std::abs(x[i]));
  }
  const float d = largest / 127.0f, inverse = Inverse(d);
  StoreF16(d, out);
  for (int64_t i = 0; i < kBlock; ++i) {
    // std::round: halves away from zero.
    const int q = Truncate(std::round(x[i] * inverse), -127, 127);
    out[2 + i] = static_cast<std::byte>(static_cast<int8_t>(q));
  }
}

constexpr BlockTraits kTraits = {
    .name = "q8_0",
    .numbers = kBlock,
    .bytes = kBytes,
    .dot = &q8_0_cpu::Dot,
    .dequantize = &q8_0_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 0>,
    .packed = &Path<q8_0_cpu::PanelsAvx512, q8_0_cpu::PanelsAvx2>,
    .stored = &Path<q8_0_cpu::StoredAvx512, q8_0_cpu::PanelsAvx2>};

}  // namespace

const Format& q8_0() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
