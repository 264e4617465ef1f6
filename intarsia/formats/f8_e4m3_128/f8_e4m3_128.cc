#include <algorithm>
#include <cmath>

#include "intarsia/formats/common/block_format.h"
#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/f8_e4m3_128/e4m3.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr int64_t kNumbers = 128;
constexpr size_t kBytes = 4 + 128;  // scale, codes
constexpr float kLargest = 448.0f;  // of E4M3

void StoreScale(float scale, std::byte* out) {
  std::memcpy(out, &scale, sizeof(scale));
}

void Poison(std::byte* out) {
  std::fill_n(out, kBytes, std::byte{0});
  StoreScale(NAN, out);
}

// The largest number becomes the largest of E4M3, as checkpoints have it.
void QuantizeBlock(const float* x, const float*, std::byte* out) {
  float largest = 0;
  for (int64_t i = 0; i < kNumbers; ++i) {
    largest = std::max(largest, std::abs(x[i]));
  }
  float scale = largest / kLargest, inverse = Inverse(scale);
  if (!std::isfinite(inverse)) scale = inverse = 0;  // as good as zeros
  StoreScale(scale, out);
  for (int64_t i = 0; i < kNumbers; ++i) {
    out[4 + i] = std::byte{ToE4M3(x[i] * inverse)};
  }
}

constexpr BlockTraits kTraits = {.name = "f8_e4m3_128",
                                 .numbers = kNumbers,
                                 .bytes = kBytes,
                                 .dot = &f8_e4m3_128_cpu::Dot,
                                 .dequantize = &f8_e4m3_128_cpu::Dequantize,
                                 .quantize = &QuantizeBlock,
                                 .poison = &Poison};

}  // namespace

const Format& f8_e4m3_128() {
  static const BlockFormat* format = new BlockFormat(kTraits);
  return *format;
}

}  // namespace intarsia::formats
