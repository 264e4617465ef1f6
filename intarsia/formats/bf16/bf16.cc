#include <cstring>

#include "intarsia/formats/bf16/bf16_cpu.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/word_panels.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

const PreparedKernels* Packed() {
  return IntegerPath(BF16PanelsAvx512, BF16PanelsAvx2);
}

class BF16 : public DotFormat {
 public:
  BF16() : DotFormat(&DotBF16, nullptr, &Packed) {}
  std::string_view name() const override { return "bf16"; }
  int64_t block() const override { return 1; }
  size_t row_bytes(int64_t k) const override { return k * 2; }
  DType storage() const override { return DType::kBF16; }

  // Rows may lie at any address (mapped files).
  void QuantizeRow(const float* in, std::byte* out, int64_t k) const override {
    for (int64_t i = 0; i < k; ++i) {
      const intarsia::bf16 value = ToBF16(in[i]);
      std::memcpy(out + i * sizeof(value), &value, sizeof(value));
    }
  }
  void DequantizeRow(const std::byte* in, float* out,
                     int64_t k) const override {
    DequantizeBF16(in, out, k);
  }
};

}  // namespace

const Format& bf16() {
  static const BF16* format = new BF16;
  return *format;
}

}  // namespace intarsia::formats
