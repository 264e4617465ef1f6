#include <algorithm>

#include "intarsia/formats/common/blocks.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/q8_0/q8_0_cpu.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

constexpr size_t kBytes = 2 + 32;  // scale, codes

void QuantizeBlock(const float* x, std::byte* out) {
  if (!AllFinite(x)) {  // a fault stays visible: the whole block reads as NaN
    StoreF16(NAN, out);
    std::fill_n(out + 2, kBlock, std::byte{0});
    return;
  }
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

const PreparedKernels* Paths() { return IntegerPath(Q80Avx512, Q80Avx2); }
const PreparedKernels* Packed() {
  return IntegerPath(Q80PanelsAvx512, Q80Avx2);
}

class Q80 : public DotFormat {
 public:
  Q80() : DotFormat(&DotQ80, &Paths, &Packed) {}
  std::string_view name() const override { return "q8_0"; }
  int64_t block() const override { return kBlock; }
  size_t row_bytes(int64_t k) const override { return k / kBlock * kBytes; }
  DType storage() const override { return DType::kU8; }

  void QuantizeRow(const float* in, std::byte* out, int64_t k) const override {
    for (int64_t b = 0; b < k / kBlock; ++b) {
      QuantizeBlock(in + b * kBlock, out + b * kBytes);
    }
  }
  void DequantizeRow(const std::byte* in, float* out,
                     int64_t k) const override {
    DequantizeQ80(in, out, k);
  }
};

}  // namespace

const Format& q8_0() {
  static const Q80* format = new Q80;
  return *format;
}

}  // namespace intarsia::formats
