#include <algorithm>

#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/q4_1/q4_1_cpu.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 4 + 16;  // scale, minimum, nibbles

// From the least to the largest number; with an importance matrix this is where
// the search begins.
void QuantizeBlock(const float* x, const float* importance, std::byte* out) {
  if (!AllFinite(x)) {  // a fault stays visible: the whole block reads as NaN
    StoreF16(NAN, out);
    StoreF16(NAN, out + 2);
    std::fill_n(out + 4, kBlock / 2, std::byte{0});
    return;
  }
  const auto [low, high] = std::minmax_element(x, x + kBlock);
  const float m = *low, d = (*high - m) / 15.0f, inverse = Inverse(d);
  if (importance != nullptr) {
    float w[kBlock];
    int8_t codes[kBlock];
    ErrorCosts(x, importance, kBlock, w);
    const LinearFit fit = FitStoredLinear(15, x, w, kBlock, {d, m});
    NearestCodes(15, x, w, kBlock, fit, codes);
    StoreF16(fit.scale, out);
    StoreF16(fit.minimum, out + 2);
    for (int64_t i = 0; i < kBlock / 2; ++i) {
      out[4 + i] =
          static_cast<std::byte>(codes[i] | codes[i + kBlock / 2] << 4);
    }
    return;
  }
  StoreF16(d, out);
  StoreF16(m, out + 2);
  for (int64_t i = 0; i < kBlock / 2; ++i) {
    const int lo = Truncate((x[i] - m) * inverse + 0.5f, 0, 15);
    const int hi = Truncate((x[i + kBlock / 2] - m) * inverse + 0.5f, 0, 15);
    out[4 + i] = static_cast<std::byte>(lo | hi << 4);
  }
}

const PreparedKernels* Paths() { return IntegerPath(Q41Avx512, Q41Avx2); }
const PreparedKernels* Packed() {
  return IntegerPath(Q41PanelsAvx512, Q41Avx2);
}

class Q41 : public DotFormat {
 public:
  Q41() : DotFormat(&DotQ41, &Paths, &Packed) {}
  std::string_view name() const override { return "q4_1"; }
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
    DequantizeQ41(in, out, k);
  }
};

}  // namespace

const Format& q4_1() {
  static const Q41* format = new Q41;
  return *format;
}

}  // namespace intarsia::formats
