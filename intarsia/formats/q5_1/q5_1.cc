#include <algorithm>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/five_bits.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 4 + 4 + 16;  // scale, minimum, fifth bits, nibbles

void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  int8_t codes[kBlock];
  const auto [low, high] = std::minmax_element(x, x + kBlock);
  const float m = *low, d = (*high - m) / 31.0f, inverse = Inverse(d);
  if (importance == nullptr) {  // as GGML's reference
    StoreF16(d, out);
    StoreF16(m, out + 2);
    for (int64_t i = 0; i < kBlock; ++i) {
      codes[i] =
          static_cast<int8_t>(Truncate((x[i] - m) * inverse + 0.5f, 0, 31));
    }
  } else {
    float w[kBlock];
    ErrorCosts(x, importance, kBlock, w);
    const LinearFit fit = FitStoredLinear(31, x, w, kBlock, {d, m});
    StoreF16(fit.scale, out);
    StoreF16(fit.minimum, out + 2);
    NearestCodes(31, x, w, kBlock, {LoadF16(out), LoadF16(out + 2)}, codes);
  }
  PackFiveBits(codes, out + 4, out + 8);
}

constexpr BlockTraits kTraits = {
    .name = "q5_1",
    .numbers = kBlock,
    .bytes = kBytes,
    .dot = &q5_1_cpu::Dot,
    .dequantize = &q5_1_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 0>,
    .packed = &Path<q5_1_cpu::PanelsAvx512, q5_1_cpu::PanelsAvx2>};

}  // namespace

const Format& q5_1() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
