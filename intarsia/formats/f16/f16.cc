#include <cstring>

#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/word_panels.h"
#include "intarsia/formats/f16/f16_cpu.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

const PreparedKernels* Packed() {
  return IntegerPath(F16PanelsAvx512, F16PanelsAvx2);
}

class F16 : public DotFormat {
 public:
  F16() : DotFormat(&DotF16, nullptr, &Packed) {}
  std::string_view name() const override { return "f16"; }
  int64_t block() const override { return 1; }
  size_t row_bytes(int64_t k) const override { return k * 2; }
  DType storage() const override { return DType::kF16; }

  // Rows may lie at any address (mapped files).
  void QuantizeRow(const float* in, std::byte* out, int64_t k) const override {
    for (int64_t i = 0; i < k; ++i) {
      const intarsia::f16 value = ToF16(in[i]);
      std::memcpy(out + i * sizeof(value), &value, sizeof(value));
    }
  }
  void DequantizeRow(const std::byte* in, float* out,
                     int64_t k) const override {
    DequantizeF16(in, out, k);
  }
};

}  // namespace

const Format& f16() {
  static const F16* format = new F16;
  return *format;
}

}  // namespace intarsia::formats
