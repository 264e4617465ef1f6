#include <algorithm>

#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/q4_0/q4_0_cpu.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 2 + 16;  // scale, nibbles

// The code that counts as 0 is 8.
constexpr CodeSet kCodes = {.lo = -8, .hi = 7};

// The value of largest magnitude, with its sign, becomes code 0 (that is -8);
// with an importance matrix this is where the search for a scale begins.
void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  if (!AllFinite(x)) {  // a fault stays visible: the whole block reads as NaN
    StoreF16(NAN, out);
    std::fill_n(out + 2, kBlock / 2, std::byte{0});
    return;
  }
  float largest = 0;
  for (int64_t i = 0; i < kBlock; ++i) {
    if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
  }
  const float d = largest / -8.0f, inverse = Inverse(d);
  if (importance != nullptr) {
    float w[kBlock];
    int8_t codes[kBlock];
    ErrorCosts(x, importance, kBlock, w);
    const float scale = FitStoredScale(kCodes, x, w, kBlock, d);
    NearestCodes(kCodes, x, w, kBlock, scale, codes);
    StoreF16(scale, out);
    for (int64_t i = 0; i < kBlock / 2; ++i) {
      const int lo = codes[i] + 8, hi = codes[i + kBlock / 2] + 8;
      out[2 + i] = static_cast<std::byte>(lo | hi << 4);
    }
    return;
  }
  StoreF16(d, out);
  for (int64_t i = 0; i < kBlock / 2; ++i) {
    const int lo = Truncate(x[i] * inverse + 8.5f, 0, 15);
    const int hi = Truncate(x[i + kBlock / 2] * inverse + 8.5f, 0, 15);
    out[2 + i] = static_cast<std::byte>(lo | hi << 4);
  }
}

const PreparedKernels* Paths() { return IntegerPath(Q40Avx512, Q40Avx2); }
const PreparedKernels* Packed() {
  return IntegerPath(Q40PanelsAvx512, Q40Avx2);
}

class Q40 : public DotFormat {
 public:
  Q40() : DotFormat(&DotQ40, &Paths, &Packed) {}
  std::string_view name() const override { return "q4_0"; }
  int64_t block() const override { return kBlock; }
  size_t row_bytes(int64_t k) const override { return k / kBlock * kBytes; }
  DType storage() const override { return DType::kU8; }

  void QuantizeRow(const float* in, std::byte* out, int64_t k) const override {
    QuantizeRowFor(in, nullptr, out, k);
  }
  void QuantizeRowFor(const float* in, const float* importance, std::byte* out,
                      int64_t k) const override {
    for (int64_t b = 0; b < k / kBlock; ++b) {
      QuantizeBlock(in + b * kBlock,
                    importance != nullptr ? importance + b * kBlock : nullptr,
                    out + b * kBytes);
    }
  }
  void DequantizeRow(const std::byte* in, float* out,
                     int64_t k) const override {
    DequantizeQ40(in, out, k);
  }
};

}  // namespace

const Format& q4_0() {
  static const Q40* format = new Q40;
  return *format;
}

}  // namespace intarsia::formats
