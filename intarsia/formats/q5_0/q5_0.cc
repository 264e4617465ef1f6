#include <algorithm>
#include <cmath>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/five_bits.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 2 + 4 + 16;  // scale, fifth bits, nibbles
constexpr CodeSet kCodes = {.lo = -16, .hi = 15};

void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  int8_t codes[kBlock];
  const float extreme = *std::max_element(x, x + kBlock, [](float a, float b) {
    return std::abs(a) < std::abs(b);
  });
  const float d = extreme / -16.0f, inverse = Inverse(d);
  if (importance == nullptr) {
    // As GGML's reference: the number of largest size becomes code 0.
    StoreF16(d, out);
    for (int64_t i = 0; i < kBlock; ++i) {
      codes[i] = static_cast<int8_t>(Truncate(x[i] * inverse + 16.5f, 0, 31));
    }
  } else {
    float w[kBlock];
    ErrorCosts(x, importance, kBlock, w);
    StoreF16(FitStoredScale(kCodes, x, w, kBlock, d), out);
    NearestCodes(kCodes, x, w, kBlock, LoadF16(out), codes);
    for (int8_t& code : codes) code = static_cast<int8_t>(code + 16);
  }
  PackFiveBits(codes, out + 2, out + 6);
}

constexpr BlockTraits kTraits = {
    .name = "q5_0",
    .numbers = kBlock,
    .bytes = kBytes,
    .dot = &q5_0_cpu::Dot,
    .dequantize = &q5_0_cpu::Dequantize,
    .quantize = &QuantizeBlock,
    .poison = &PoisonF16<kBytes, 0>,
    .packed = &Path<q5_0_cpu::PanelsAvx512, q5_0_cpu::PanelsAvx2>};

}  // namespace

const Format& q5_0() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
